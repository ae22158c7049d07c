//! Parts that several kinds of file have: connections, tensors, the record of a training.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::container::{damaged, Array, Container};
use crate::batches::Design;
use crate::kernels::{ConnectionList, Wiring};
use crate::model::{DensePart, EpochRecord, Level, Settings, Snapshot, TensorId, N_COLUMNS};
use crate::{Error, Result};

/// Name of the array that holds the history, epochs x columns.
pub(super) const HISTORY: &str = "history";

/// Name of the array that holds the connections of the epochs, epochs x genes.
const CONNECTIONS: &str = "history.connections";

fn counts_name(prefix: &str, mask: usize) -> String {
    format!("{prefix}mask.{mask}.connections_of_gene")
}

pub(super) fn units_name(prefix: &str, mask: usize) -> String {
    format!("{prefix}mask.{mask}.hidden_unit")
}

/// Adds a model's connections and tensors; `prefix` tells several models in one file apart.
pub(super) fn put_snapshot(to: &mut Container, prefix: &str, snapshot: &Snapshot) -> Result<()> {
    for (id, tensor) in &snapshot.tensors {
        put_tensor(to, format!("{prefix}{id}"), tensor)?;
    }
    put_wiring(to, prefix, &snapshot.wiring);
    Ok(())
}

pub(super) fn put_tensor(to: &mut Container, name: String, tensor: &Tensor) -> Result<()> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    to.put(name, tensor.dims(), &values);
    Ok(())
}

fn put_wiring(to: &mut Container, prefix: &str, wiring: &Wiring) {
    for (mask, list) in wiring.masks.iter().enumerate() {
        let n_of_gene: Vec<u32> = list.offsets.windows(2).map(|w| w[1] - w[0]).collect();
        to.put(counts_name(prefix, mask), &[n_of_gene.len()], &n_of_gene);
        to.put(units_name(prefix, mask), &[list.hidden.len()], &list.hidden);
    }
}

/// Adds a history. As numbers, not as JSON: text would lose the last bit.
pub(super) fn put_history(to: &mut Container, epochs: &[EpochRecord]) {
    let rows: Vec<f64> = epochs.iter().flat_map(|record| record.to_row()).collect();
    to.put(HISTORY.into(), &[epochs.len(), N_COLUMNS], &rows);
}

pub(super) fn history(from: &Container) -> Result<Vec<EpochRecord>> {
    let array = from.array(HISTORY)?;
    if array.shape.len() != 2 || array.shape[1] != N_COLUMNS {
        return Err(damaged("its history has other columns"));
    }
    let numbers = array.numbers::<f64>()?;
    let rows = numbers.chunks_exact(N_COLUMNS);
    Ok(rows
        .map(|chunk| {
            let mut row = [0.0; N_COLUMNS];
            row.copy_from_slice(chunk);
            EpochRecord::from_row(row)
        })
        .collect())
}

/// Adds the connections that the epochs were trained with, epochs x genes. Mostly they are few: a byte each.
pub(super) fn put_connections(to: &mut Container, epochs: &[Vec<u16>]) {
    let Some(first) = epochs.first() else {
        return;
    };
    let (shape, name) = ([epochs.len(), first.len()], CONNECTIONS.to_string());
    let values: Vec<u16> = epochs.concat();
    let small: std::result::Result<Vec<u8>, _> = values.iter().map(|&n| n.try_into()).collect();
    match small {
        Ok(small) => to.put(name, &shape, &small),
        Err(_) => to.put(name, &shape, &values),
    }
}

/// None, if the file has none.
pub(super) fn epochs_connections(from: &Container, n_genes: usize) -> Result<Vec<Vec<u16>>> {
    let Some(array) = from.arrays.get(CONNECTIONS) else {
        return Ok(Vec::new());
    };
    if n_genes == 0 || array.shape.len() != 2 || array.shape[1] != n_genes {
        return Err(damaged("its record of connections is of other genes"));
    }
    let values: Vec<u16> = match array.numbers::<u8>() {
        Ok(small) => small.into_iter().map(u16::from).collect(),
        Err(_) => array.numbers()?,
    };
    Ok(values.chunks_exact(n_genes).map(<[u16]>::to_vec).collect())
}

/// The connections of a model with so many masks. Nothing is believed before it is compared with what is there.
pub(super) fn wiring(
    from: &Container,
    prefix: &str,
    n_masks: usize,
    n_genes: usize,
    n_hidden: usize,
) -> Result<Wiring> {
    if n_masks == 0 || n_genes == 0 {
        return Err(damaged("it has no connections"));
    }
    if from.arrays.contains_key(&units_name(prefix, n_masks)) {
        return Err(damaged("it has more masks than batches"));
    }
    let mut lists = Vec::with_capacity(n_masks.min(from.arrays.len()));
    for mask in 0..n_masks {
        let counts = from.array(&counts_name(prefix, mask))?.numbers::<u32>()?;
        let units = from.array(&units_name(prefix, mask))?.numbers::<u16>()?;
        lists.push(connections(&counts, units, n_genes, n_hidden)?);
    }
    Ok(wired(lists, n_genes, n_hidden))
}

/// The connections of one mask, which do not know their slots yet. No mask is made of them: it would take memory for
/// connections that there are not.
fn connections(
    counts: &[u32],
    mut units: Vec<u16>,
    n_genes: usize,
    n_hidden: usize,
) -> Result<ConnectionList> {
    if counts.len() != n_genes {
        return Err(damaged("its masks do not fit its genes"));
    }
    if units.iter().any(|&unit| usize::from(unit) >= n_hidden) {
        return Err(damaged("a connection leads nowhere"));
    }
    let mut offsets = vec![0];
    let mut rest = &mut units[..];
    let mut end = 0;
    for &count in counts {
        let Some((of_gene, others)) = rest.split_at_mut_checked(count as usize) else {
            return Err(damaged("a gene has more connections than there are"));
        };
        of_gene.sort_unstable();
        if of_gene.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(damaged("a gene is connected twice to the same unit"));
        }
        rest = others;
        end += count;
        offsets.push(end);
    }
    if !rest.is_empty() {
        return Err(damaged("connections belong to no gene"));
    }
    Ok(ConnectionList {
        offsets,
        hidden: units,
        slots: Vec::new(),
    })
}

/// What [`crate::layers::wire`] makes of masks with these connections.
fn wired(lists: Vec<ConnectionList>, n_genes: usize, n_hidden: usize) -> Wiring {
    let mut wiring = Wiring {
        n_hidden,
        offsets: vec![0],
        hidden: Vec::new(),
        masks: lists,
    };
    let mut of_gene = Vec::new();
    for gene in 0..n_genes {
        of_gene.clear();
        for list in &wiring.masks {
            of_gene.extend_from_slice(units_of(list, gene));
        }
        of_gene.sort_unstable();
        of_gene.dedup();
        let first = wiring.hidden.len();
        for list in &mut wiring.masks {
            let mut slot = 0;
            for at in list.offsets[gene] as usize..list.offsets[gene + 1] as usize {
                // Both are in ascending order, and the gene's units are among those of all masks.
                while of_gene[slot] != list.hidden[at] {
                    slot += 1;
                }
                list.slots.push((first + slot) as u32);
            }
        }
        wiring.hidden.extend_from_slice(&of_gene);
        wiring.offsets.push(wiring.hidden.len() as u32);
    }
    wiring
}

fn units_of(list: &ConnectionList, gene: usize) -> &[u16] {
    &list.hidden[list.offsets[gene] as usize..list.offsets[gene + 1] as usize]
}

/// The snapshot of a model that has the tensors of `like`.
pub(super) fn snapshot(
    from: &Container,
    prefix: &str,
    wiring: Arc<Wiring>,
    like: &Snapshot,
) -> Result<Snapshot> {
    let mut tensors = BTreeMap::new();
    for &id in like.tensors.keys() {
        let array = from.arrays.get(&format!("{prefix}{id}"));
        let array = array.ok_or_else(|| lacks(id))?;
        tensors.insert(id, tensor(array)?);
    }
    Ok(Snapshot { wiring, tensors })
}

fn lacks(id: TensorId) -> Error {
    Error::Model(format!("the model lacks its tensor {id}"))
}

pub(super) fn tensor(array: &Array) -> Result<Tensor> {
    let shape = array.shape.clone();
    Ok(Tensor::from_vec(
        array.numbers::<f32>()?,
        shape,
        &Device::Cpu,
    )?)
}

/// Whether a model of such settings, batches and genes has as many values as its file holds, for every tensor whose size
/// is a product of what the file claims: what a damaged file claims must not be given memory.
pub(super) fn check_size(
    from: &Container,
    prefix: &str,
    settings: &Settings,
    design: &Design,
    n_genes: usize,
) -> Result<()> {
    let (h, n_batches) = (settings.n_hidden, design.n_batches());
    let weight = DensePart::Weight;
    let check = |id: TensorId, shape: &[usize]| {
        let array = from.array(&format!("{prefix}{id}"))?;
        match array.shape == shape {
            true => Ok(()),
            false => Err(damaged(format_args!(
                "its settings, genes and batches ask for {shape:?} values as {id}, there are {:?}",
                array.shape
            ))),
        }
    };
    check(TensorId::EncoderBias, &[h])?;
    check(TensorId::DecoderFc(weight), &[h, settings.n_latent])?;
    if settings.fc_layer {
        check(TensorId::EncoderFc(weight), &[h, h])?;
    }
    for (covariate, &n_levels) in design.n_levels().iter().enumerate() {
        for level in (0..n_levels).map(|level| Level { covariate, level }) {
            check(TensorId::EncoderBatch(level, weight), &[h, h])?;
            check(TensorId::DecoderBatch(level, weight), &[h, h])?;
        }
        if settings.batch_offsets {
            check(TensorId::ScaleOffsets(covariate), &[n_levels, n_genes])?;
        }
    }
    if settings.batch_offsets && n_batches > 1 {
        check(TensorId::InputShift, &[n_batches, n_genes])?;
    }
    Ok(())
}
