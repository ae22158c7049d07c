//! The draw of the latent variables, and their divergence from the standard normal.

use candle_core::{Result as CandleResult, Tensor};

use super::arguments::Latent;
use super::card::{Card, Grid, Lent};
use crate::backend::known_result;

/// Threads of the one block that sums the divergence.
const THREADS: u32 = 1024;

/// A draw, and the mean divergence of the cells.
pub(super) fn draw(
    card: &Card,
    mean: &Tensor,
    log_variance: &Tensor,
    least: f64,
    noise: &Tensor,
) -> CandleResult<(Tensor, Tensor)> {
    let known = Known {
        card: card.clone(),
        mean: mean.detach().contiguous()?,
        log_variance: log_variance.detach().contiguous()?,
        noise: noise.contiguous()?,
        least: least as f32,
    };
    let z = card.fresh::<f32>(mean.shape())?;
    known.launch("draw", |of| {
        of.out = card.lend::<f32>(&z)?.at;
        Ok(())
    })?;
    let divergence = card.fresh::<f32>(())?;
    known.launch("divergence", |of| {
        of.out = card.lend::<f32>(&divergence)?.at;
        Ok(())
    })?;
    let inputs = [mean, log_variance];
    let way = known.clone();
    let z = known_result(&inputs, z, move |d_out| way.back("draw_back", d_out))?;
    let divergence = known_result(&inputs, divergence, move |d_out| {
        known.back("divergence_back", d_out)
    })?;
    Ok((z, divergence))
}

#[derive(Clone)]
struct Known {
    card: Card,
    mean: Tensor,
    log_variance: Tensor,
    noise: Tensor,
    least: f32,
}

impl Known {
    fn launch(
        &self,
        kernel: &str,
        fill_in: impl FnOnce(&mut Latent) -> CandleResult<()>,
    ) -> CandleResult<()> {
        let ((n_cells, n_latent), card) = (self.mean.dims2()?, &self.card);
        let n = n_cells * n_latent;
        let lent: Vec<Lent> = [&self.mean, &self.log_variance, &self.noise]
            .into_iter()
            .map(|tensor| card.lend_exactly(tensor, n))
            .collect::<CandleResult<_>>()?;
        let mut arguments = Latent {
            mean: lent[0].at,
            log_variance: lent[1].at,
            noise: lent[2].at,
            n_cells: n_cells as i32,
            n_latent: n_latent as i32,
            least: self.least,
            ..Latent::default()
        };
        fill_in(&mut arguments)?;
        let grid = match kernel {
            "divergence" => Grid::new((1, 1), THREADS),
            _ => Grid::over(n),
        };
        card.launch(kernel, grid, &arguments)
    }

    /// Gradients of mean and log variance.
    fn back(&self, kernel: &str, d_out: &Tensor) -> CandleResult<Vec<Tensor>> {
        let card = &self.card;
        let found = [(); 2].map(|()| card.fresh::<f32>(self.mean.shape()));
        let [d_mean, d_log_variance] = found;
        let (d_mean, d_log_variance) = (d_mean?, d_log_variance?);
        let d_out = card.lend::<f32>(d_out)?;
        self.launch(kernel, |of| {
            of.d_out = d_out.at;
            of.d_mean = card.lend::<f32>(&d_mean)?.at;
            of.d_log_variance = card.lend::<f32>(&d_log_variance)?.at;
            Ok(())
        })?;
        Ok(vec![d_mean, d_log_variance])
    }
}
