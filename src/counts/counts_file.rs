//! What is read from a file of counts, whatever kind it was.

use super::CountMatrix;

/// The kinds of file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// anndata's `.h5ad`.
    H5ad,
    /// The `.h5` of 10x Genomics' CellRanger.
    TenX,
}

impl FileFormat {
    /// The name R knows it by: `"h5ad"` or `"10x"`.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::H5ad => "h5ad",
            FileFormat::TenX => "10x",
        }
    }
}

/// A count matrix read from a file, with the names of its cells and genes.
#[derive(Debug, Clone)]
pub struct CountsFile {
    /// The counts, cells x genes.
    pub matrix: CountMatrix<'static>,
    /// One name per cell: the index of `obs`, or the barcodes of 10x Genomics.
    pub cell_names: Vec<String>,
    /// One name per gene: the index of `var`; for 10x Genomics the gene names, made unique as R's `make.unique` does.
    pub gene_names: Vec<String>,
    /// One id per gene: those of 10x Genomics, else the same as the names.
    pub gene_ids: Vec<String>,
    /// The kind of file it was.
    pub format: FileFormat,
    /// What `layer` could have been: of an `.h5ad` file `X`, `raw` and the layers, as far as they exist; of a 10x
    /// Genomics file its groups.
    pub available: Vec<String>,
}
