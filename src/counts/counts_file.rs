//! What is read from a file of counts, whatever kind it was.

use super::annotation::Annotation;
use super::CountMatrix;

/// The kinds of file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// anndata's `.h5ad`.
    H5ad,
    /// The `.h5` of 10x Genomics' CellRanger.
    TenX,
    /// A folder with the matrix, barcodes and features in text (CellRanger, STARsolo).
    Mex,
    /// `.loom`.
    Loom,
}

impl FileFormat {
    /// The name R knows it by: `"h5ad"`, `"10x"`, `"mex"` or `"loom"`.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::H5ad => "h5ad",
            FileFormat::TenX => "10x",
            FileFormat::Mex => "mex",
            FileFormat::Loom => "loom",
        }
    }

    /// Whether the file keeps columns of what is known of its cells.
    pub fn annotates_cells(self) -> bool {
        matches!(self, FileFormat::H5ad | FileFormat::Loom)
    }
}

/// Which features of a 10x Genomics file to read: antibodies, guides and peaks follow other distributions than genes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Features<'a> {
    /// Those of type "Gene Expression".
    #[default]
    Expression,
    /// All.
    All,
    /// Those of these types.
    Types(&'a [String]),
}

/// What to read of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// For `.h5ad`, `"X"` is X, `"raw"` is raw/X, any other name a layer; for `.loom`, `"matrix"` is the main matrix,
    /// any other name a layer. `None`: of these the one that holds counts. For 10x Genomics `None`, or the genome if
    /// the file holds several (CellRanger 2).
    pub layer: Option<&'a str>,
    /// Which features of a 10x Genomics file; other files know no types of features.
    pub features: Features<'a>,
    /// Whether to read what the file says of cells and genes beside their names.
    pub annotation: bool,
}

/// A count matrix read from a file, with the names of its cells and genes.
#[derive(Debug, Clone)]
pub struct CountsFile {
    /// The counts, cells x genes.
    pub matrix: CountMatrix<'static>,
    /// One name per cell: the index of `obs`, the barcodes of 10x Genomics, or `CellID`.
    pub cell_names: Vec<String>,
    /// One name per gene: the index of `var`; for 10x Genomics and `.loom` the gene names, made unique as R's
    /// `make.unique` does.
    pub gene_names: Vec<String>,
    /// One id per gene: those of 10x Genomics, the `Accession` of `.loom`, else the same as the names.
    pub gene_ids: Vec<String>,
    /// The kind of file it was.
    pub format: FileFormat,
    /// What `layer` could have been: of an `.h5ad` file `X`, `raw` and the layers, as far as they exist; of a `.loom`
    /// file `matrix` and the layers; of a 10x Genomics file its groups.
    pub available: Vec<String>,
    /// Which of them was read.
    pub layer: String,
    /// Those that were looked at before, and why they are no counts.
    pub passed_over: Vec<(String, String)>,
    /// Features that were left out, by type: how many.
    pub left_out: Vec<(String, usize)>,
    /// Columns of the cells, if they were asked for.
    pub cells: Annotation,
    /// Columns of the genes, if they were asked for.
    pub genes: Annotation,
}
