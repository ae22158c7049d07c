//! What the kernels are given: the twins of the structs in `src/kernels/cuda/*.cu`, field by field.

#![allow(
    unsafe_code,
    reason = "a struct of plain numbers is what the driver copies to the card"
)]

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// An address in the card's memory; zero where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(super) struct Address(pub(super) u64);

/// Declares structs whose fields lie as C lays them.
macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }

        // Safety: numbers and addresses only, laid out as in C.
        unsafe impl DeviceRepr for $name {}

        impl Default for $name {
            /// Zeros: nothing anywhere.
            fn default() -> Self {
                // Safety: all bits zero are a number, and the address of nothing.
                unsafe { std::mem::zeroed() }
            }
        }
    )*};
}

/// Parameters that one launch of Adam moves.
pub(super) const MOST_UPDATES: usize = 48;
/// Statistics that can be asked for at once.
pub(super) const MOST_STATISTICS: usize = 9;

arguments! {
    Rows {
        n: i32,
        n_segments: i32,
        n_pieces: i32,
        segment: Address,
        first_piece: Address,
        pieces: Address,
    }
    Bias {
        values: Address,
        by_segment: u64,
    }
    Cells {
        offsets: Address,
        genes: Address,
        counts: Address,
        library: Address,
        rows: Address,
        depth: Address,
    }
    Gather {
        cells: Cells,
        n_cells: i32,
        table: Address,
        log_library: Address,
    }
    Dropout {
        key: [u32; 8],
        first: u64,
        stream: u64,
        skipped: i32,
        n: i32,
        rate: f64,
        kept: f32,
        out: Address,
    }
    Encode {
        cells: Cells,
        first: i32,
        n_hidden: i32,
        dense: Address,
        bias: Address,
        out: Address,
    }
    EncodeBack {
        offsets: Address,
        hidden: Address,
        slots: Address,
        n_genes: i32,
        n_hidden: i32,
        n_cells: i32,
        first: i32,
        last: i32,
        table: Address,
        depth: Address,
        d_out: Address,
        adds: i32,
        d_weights: Address,
    }
    Connections {
        offsets: Address,
        hidden: Address,
        slots: Address,
        n_genes: i32,
        n_rows: i32,
        n_hidden: i32,
        dense: Address,
        weights: [Address; 2],
        adds: i32,
    }
    SparseHeads {
        offsets: Address,
        hidden: Address,
        slots: Address,
        unit_offsets: Address,
        genes: Address,
        unit_slots: Address,
        n_genes: i32,
        n_hidden: i32,
        n_cells: i32,
        first: i32,
        last: i32,
        genes_of_part: i32,
        adds: i32,
        n_slots: u64,
        weights: [Address; 2],
        x: Address,
        logits: Address,
        d_weights: [Address; 2],
        weight_parts: Address,
        d_x_parts: Address,
    }
    SumParts {
        parts: Address,
        n_parts: i32,
        n_values: i32,
        out: Address,
    }
    AddGeneSums {
        sums: Address,
        added: Address,
        places: Address,
        log_shares: Address,
        n_statistics: i32,
        n_segments: i32,
        n_genes: i32,
        counts: i32,
        of_statistic: i32,
    }
    LogSum {
        logits: Address,
        bias: Bias,
        rows: Rows,
        n_genes: i32,
        n_parts: i32,
        highest: Address,
        sum_exp: Address,
        log_library: Address,
        negative_log_sum: Address,
        shift: Address,
    }
    Shares {
        logits: Address,
        negative_log_sum: Address,
        center: Address,
        factor: f32,
        n_genes: i32,
        n_cells: i32,
        out: Address,
    }
    AddBias {
        logits: Address,
        bias: Bias,
        rows: Rows,
        n_genes: i32,
        out: Address,
    }
    CountLoss {
        logits: Address,
        d_means: Address,
        scale_bias: Bias,
        dropout_bias: Bias,
        rows: Rows,
        n_genes: i32,
        n_padded: i32,
        log_theta: Address,
        counts: Address,
        log_library: Address,
        negative_log_sum: Address,
        shift: Address,
        per_cell: f32,
        n_statistics: i32,
        statistics: [i32; MOST_STATISTICS],
        values: Address,
        d_log_mu: Address,
        d_log_mu_sum: Address,
        d_log_theta: Address,
        d_bias: [Address; 2],
        sums: Address,
        loss: Address,
        out_log_theta: Address,
        out_bias: [Address; 2],
        out_sums: Address,
    }
    Activate {
        x: Address,
        gamma: Address,
        beta: Address,
        n_cells: i32,
        n_features: i32,
        rectifies: i32,
        factors: Address,
        epsilon: f64,
        momentum: f64,
        mean: Address,
        variance: Address,
        running_mean: Address,
        running_variance: Address,
        out: Address,
        d_out: Address,
        d_x: Address,
        d_gamma: Address,
        d_beta: Address,
    }
    Dense {
        x: Address,
        product: Address,
        bias: Address,
        segment: Address,
        n_rows: i32,
        n_columns: i32,
        d_out: Address,
        out: Address,
    }
    Latent {
        mean: Address,
        log_variance: Address,
        noise: Address,
        n_cells: i32,
        n_latent: i32,
        least: f32,
        d_out: Address,
        out: Address,
        d_mean: Address,
        d_log_variance: Address,
    }
    Modules {
        layers: Address,
        x: Address,
        n_segments: i32,
        n: i32,
        beta: f32,
        slope: Address,
        d_out: Address,
        out: Address,
        d_weights: Address,
        d_bias: Address,
    }
    Update {
        parameter: Address,
        gradient: Address,
        moments: Address,
        rows: Address,
        n_parameter: u64,
        n: i32,
        of_row: i32,
        first_block: i32,
        weight_decay: f32,
    }
    Adam {
        updates: [Update; MOST_UPDATES],
        n_updates: i32,
        beta_1: f32,
        beta_2: f32,
        step: f32,
        root_correction: f32,
        eps: f32,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::card::MODULES;
    use super::*;

    /// The size of each kernel's argument, as the compiler of the kernels has it.
    fn sizes_in_kernels() -> BTreeMap<String, usize> {
        let mut sizes = BTreeMap::new();
        for (ptx, _) in MODULES {
            for entry in ptx.split(".visible .entry ").skip(1) {
                let (name, rest) = entry.split_once('(').unwrap();
                let (size, _) = rest.split_once(']').unwrap();
                let (_, size) = size.rsplit_once('[').unwrap();
                sizes.insert(name.to_string(), size.parse().unwrap());
            }
        }
        sizes
    }

    #[test]
    fn arguments_are_as_large_as_the_kernels_take_them_for() {
        for (kernel, size) in sizes_in_kernels() {
            let own = match &*kernel {
                "activate" | "activate_back" | "apply" | "apply_back" => size_of::<Activate>(),
                "adam" => size_of::<Adam>(),
                "expand" | "collect" => size_of::<Connections>(),
                "add_row" | "column_sums" | "take_off" | "take_off_back" => size_of::<Dense>(),
                "modules" | "modules_back" | "modules_back_layers" => size_of::<Modules>(),
                "dropout" => size_of::<Dropout>(),
                "encode_back" => size_of::<EncodeBack>(),
                "draw" | "draw_back" | "divergence" | "divergence_back" => size_of::<Latent>(),
                "log_sum_of_parts" | "log_sum" => size_of::<LogSum>(),
                "shares" => size_of::<Shares>(),
                "add_bias" => size_of::<AddBias>(),
                "sum_parts" => size_of::<SumParts>(),
                "add_gene_sums" => size_of::<AddGeneSums>(),
                name if name.starts_with("sparse_") => size_of::<SparseHeads>(),
                name if name.starts_with("encode_") => size_of::<Encode>(),
                name if name.starts_with("gather_") => size_of::<Gather>(),
                _ => size_of::<CountLoss>(),
            };
            assert_eq!(own, size, "{kernel}");
        }
    }

    #[test]
    fn every_kernel_is_named_in_the_list_that_is_loaded() {
        let listed = MODULES.iter().flat_map(|(_, names)| names.iter());
        let mut listed: Vec<&str> = listed.copied().collect();
        listed.sort_unstable();
        assert_eq!(listed, sizes_in_kernels().into_keys().collect::<Vec<_>>());
    }
}
