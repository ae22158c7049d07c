//! Files that claim more than they hold: refused before memory is asked for, and no program dies of them.

use hdf5::types::{FixedAscii, VarLenUnicode};
use hdf5::{Group, H5Type};
use scvae::Error;

use super::h5ad::small;
use super::unstopped;
use super::write::{self, Encoding, Number, Storage, Written};

const HUGE: usize = 1 << 40;

/// Replaces a dataset by one of another size, of which nothing is written.
fn claim<T: H5Type>(group: &Group, name: &str, shape: &[usize], chunked: bool) {
    if group.link_exists(name) {
        group.unlink(name).unwrap();
    }
    let builder = group.new_dataset::<T>().shape(shape);
    let builder = match chunked {
        true => builder.chunk(vec![100; shape.len()]).deflate(4),
        false => builder.no_chunk(),
    };
    builder.create(name).unwrap();
}

fn file(encoding: Encoding) -> Written {
    write::h5ad(&small(), encoding, Storage::default())
}

fn csr() -> Written {
    file(Encoding::Csr { reversed: false })
}

fn refused<T>(result: Result<T, Error>, what: &str) {
    let Err(Error::File(text)) = result else {
        panic!("should be refused as a file: {what}");
    };
    assert!(text.contains("counts.h5ad'"), "{text}");
    assert!(text.contains(what), "{text} does not say {what}");
}

#[test]
fn arrays_of_a_matrix() {
    for chunked in [false, true] {
        for name in ["indptr", "indices", "data"] {
            let written = csr();
            let x = written.root().group("X").unwrap();
            claim::<i64>(&x, name, &[HUGE], chunked);
            let written = written.closed();
            let what = match name {
                "indptr" => "has 1099511627776 offsets where 3 are needed",
                "indices" => "has 1099511627776 indices for 3 values",
                _ => "has 3 indices for 1099511627776 values",
            };
            refused(unstopped::read(&written.path, None), what);
        }
        // Claims that agree with each other.
        for encoding in [Encoding::Csr { reversed: false }, Encoding::Csc] {
            let written = file(encoding);
            let x = written.root().group("X").unwrap();
            claim::<i64>(&x, "indices", &[HUGE], chunked);
            claim::<f32>(&x, "data", &[HUGE], chunked);
            x.unlink("indptr").unwrap();
            let mut offsets = vec![0.0, 1.0, 2.0, HUGE as f64];
            if let Encoding::Csr { .. } = encoding {
                offsets.remove(1);
            }
            write::numbers(&x, "indptr", &offsets, Number::I64, None);
            let written = written.closed();
            let what = "X/indices claims 1099511627776 values, but only 0 bytes are stored";
            refused(unstopped::read(&written.path, None), what);
        }
    }
}

#[test]
fn names_of_cells_and_genes() {
    for table in ["obs", "var"] {
        for chunked in [false, true] {
            let spoil: [fn(&Group, bool); 4] = [
                |g, c| claim::<VarLenUnicode>(g, "_index", &[HUGE], c),
                |g, c| claim::<FixedAscii<20>>(g, "_index", &[HUGE], c),
                |g, c| claim::<i64>(g, "_index", &[HUGE], c),
                |g, c| claim::<f32>(g, "_index", &[HUGE], c),
            ];
            for spoil in spoil {
                let written = csr();
                spoil(&written.root().group(table).unwrap(), chunked);
                let written = written.closed();
                let what = format!("{table}/_index claims 1099511627776 values");
                refused(unstopped::read(&written.path, None), &what);
            }
        }
    }
}

/// Dimensions whose product is no number of 64 bits.
#[test]
fn names_of_several_dimensions() {
    let written = csr();
    let obs = written.root().group("obs").unwrap();
    claim::<i64>(&obs, "_index", &[MARKER, MARKER], false);
    drop(obs);
    let written = written.closed();
    assert!(enlarge(&written, 1 << 32) > 0);
    let result = unstopped::read(&written.path, None);
    refused(
        result,
        "obs/_index claims to be of size [4294967296, 4294967296]",
    );
}

/// A size that is found in the bytes of a file.
const MARKER: usize = 12_347;

/// Writes another size wherever the marker is; says in how many places.
fn enlarge(written: &Written, size: u64) -> usize {
    let mut bytes = std::fs::read(&written.path).unwrap();
    let mut n = 0;
    for at in 0..bytes.len() - 8 {
        if bytes[at..at + 8] == (MARKER as u64).to_le_bytes() {
            bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
            n += 1;
        }
    }
    std::fs::write(&written.path, &bytes).unwrap();
    n
}

/// Ten million names of which the first 20,000 were written: what is stored could be so many, compressed well.
#[test]
fn names_that_were_never_written() {
    let written = csr();
    let obs = written.root().group("obs").unwrap();
    obs.unlink("_index").unwrap();
    let mut x: u64 = 1;
    let mut name = || {
        let part = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{x:016x}")
        };
        let text: Vec<String> = std::iter::repeat_with(part).take(6).collect();
        FixedAscii::<96>::from_ascii(&text.concat()).unwrap()
    };
    let names: Vec<FixedAscii<96>> = (0..20_000).map(|_| name()).collect();
    let dataset = obs
        .new_dataset::<FixedAscii<96>>()
        .shape([10_000_000])
        .chunk([1000])
        .deflate(4)
        .create("_index")
        .unwrap();
    dataset.write_slice(&names, 0..names.len()).unwrap();
    drop(dataset);
    let written = written.closed();
    let what = "obs/_index should hold names, but most were never written";
    refused(unstopped::read(&written.path, None), what);
}

#[test]
fn columns_of_obs() {
    for chunked in [false, true] {
        let written = csr();
        let obs = written.root().group("obs").unwrap();
        claim::<VarLenUnicode>(&obs, "text", &[HUGE], chunked);
        claim::<f64>(&obs, "number", &[HUGE], chunked);
        claim::<bool>(&obs, "flag", &[HUGE], chunked);
        let group = obs.create_group("codes").unwrap();
        claim::<i8>(&group, "codes", &[HUGE], chunked);
        write::strings(&group, "categories", &["a"], write::Text::VariableUnicode);
        let group = obs.create_group("categories").unwrap();
        write::numbers(&group, "codes", &[0.0, 0.0], Number::I32, None);
        claim::<VarLenUnicode>(&group, "categories", &[HUGE], chunked);
        let group = obs.create_group("masked").unwrap();
        write::numbers(&group, "values", &[0.0, 0.0], Number::I32, None);
        claim::<bool>(&group, "mask", &[HUGE], chunked);
        let written = written.closed();
        for (name, what) in [
            (
                "text",
                "obs/text has 1099511627776 values where 2 are needed",
            ),
            (
                "number",
                "obs/number has 1099511627776 values where 2 are needed",
            ),
            (
                "flag",
                "obs/flag has 1099511627776 values where 2 are needed",
            ),
            (
                "codes",
                "obs/codes/codes has 1099511627776 values where 2 are needed",
            ),
            (
                "categories",
                "obs/categories/categories claims 1099511627776 values",
            ),
            (
                "masked",
                "obs/masked/mask has 1099511627776 values where 2 are needed",
            ),
        ] {
            refused(unstopped::obs_column(&written.path, name), what);
        }
        // An index that claims as much does not help a column.
        let written = csr();
        let obs = written.root().group("obs").unwrap();
        claim::<VarLenUnicode>(&obs, "_index", &[HUGE], chunked);
        claim::<f64>(&obs, "number", &[HUGE], chunked);
        let written = written.closed();
        let result = unstopped::obs_column(&written.path, "number");
        refused(
            result,
            "obs/number claims 1099511627776 values, but only 0 bytes",
        );
    }
}

/// HDF5 does not write such attributes; the size of a small one is changed in the file.
#[test]
fn attributes() {
    for (place, name) in [("X", "shape"), ("X", "encoding-type"), ("obs", "_index")] {
        for claimed in [1u64 << 25, 1 << 40, u64::MAX - 7] {
            let written = csr();
            let group = written.root().group(place).unwrap();
            group.delete_attr(name).unwrap();
            let builder = group.new_attr_builder().with_data(&[1u8; MARKER]);
            builder.create(name).unwrap();
            // What is still open keeps the file from being written.
            drop((builder, group));
            let written = written.closed();
            assert!(enlarge(&written, claimed) > 0, "{place}, {name}");
            // The library may refuse the attribute itself: it is then absent, and what it says is not known.
            match unstopped::read(&written.path, None) {
                Ok(_) | Err(Error::File(_)) => {}
                Err(e) => panic!("{place}, {name}, {claimed}: {e:?}"),
            }
        }
    }
}

/// A legitimate file may be compressed as well as gzip can.
#[test]
fn what_compresses_well_is_read() {
    let cells = 300_000;
    let written = Written::new("counts.h5ad");
    let root = written.root();
    let obs = root.create_group("obs").unwrap();
    let names: Vec<FixedAscii<12>> = (0..cells)
        .map(|i| FixedAscii::from_ascii(&format!("{i}")).unwrap())
        .collect();
    let builder = obs.new_dataset_builder().chunk([cells]).deflate(9);
    builder.with_data(&names).create("_index").unwrap();
    let same = vec![7i64; cells];
    let builder = obs.new_dataset_builder().chunk([cells]).deflate(9);
    builder.with_data(&same).create("same").unwrap();
    write::frame(root, "var", &["gene"]);
    let x = root.create_group("X").unwrap();
    write::attribute(&x, "encoding-type", "csr_matrix");
    for (name, values) in [
        ("indptr", (0..=cells as i64).collect()),
        ("indices", vec![0; cells]),
        ("data", vec![1; cells]),
    ] {
        let builder = x.new_dataset_builder().chunk([values.len()]).deflate(9);
        builder.with_data(&values).create(name).unwrap();
    }
    let written = written.closed();
    let file = unstopped::read(&written.path, None).unwrap();
    assert_eq!(file.matrix.n_cells(), cells);
    assert_eq!(file.cell_names[cells - 1], "299999");
    let same = unstopped::obs_column(&written.path, "same").unwrap();
    assert!(same.iter().all(|v| v.as_deref() == Some("7")));
}
