//! What comes out of a trained model.

use scvae::backend::Cpu;
use scvae::batches::Design;
use scvae::counts::{filter, CountsView};
use scvae::model::Settings;
use scvae::results::{
    embed, mean_connections, reconstruct, repeat_fits, Output, Reconstruction, ScoredFit,
};
use scvae::training::{train, with_threads, Silent, TrainingCells};

use crate::simulated::{fit, settings, simulated};

#[test]
fn reconstruction_and_style_transfer() {
    let (matrix, batch) = simulated(300, 90, 9);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch: Vec<usize> = view.cells().iter().map(|&c| batch[c]).collect();
    let s = Settings {
        max_epochs: Some(80),
        lr: 5e-3,
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let all: Vec<usize> = (0..view.n_genes()).collect();
    let run = |genes: &[usize], style: &[(usize, usize)], library, output| {
        let how = Reconstruction {
            genes,
            batch: &batch,
            style,
            library,
            output,
        };
        reconstruct(&trained.model, &view, &how, &|| false).unwrap()
    };
    let scale = run(&all, &[], None, Output::Scale);
    let rate = run(&all, &[], None, Output::Rate);
    let fixed = run(&all, &[], Some(1e4), Output::Rate);
    let dropout = run(&all, &[], None, Output::Dropout);
    for cell in 0..view.n_cells() {
        assert!((scale.column(cell).sum() - 1.0).abs() < 1e-4);
        assert!((rate.column(cell).sum() / view.library(cell) - 1.0).abs() < 1e-4);
        assert!((fixed.column(cell).sum() / 1e4 - 1.0).abs() < 1e-4);
    }
    assert!(dropout.iter().all(|p| (0.0..=1.0).contains(p)));
    let few = run(&[7, 3], &[], None, Output::Rate);
    assert_eq!(few.row(0), rate.row(7));
    assert_eq!(few.row(1), rate.row(3));
    // In its own batch's style a cell is what it was; in the other's, that batch's genes rise.
    let as_second = run(&all, &[(0, 1)], None, Output::Scale);
    let mut ratio = (0.0, 0.0);
    for cell in 0..view.n_cells() {
        if batch[cell] == 1 {
            for gene in 0..view.n_genes() {
                let (own, styled) = (scale[[gene, cell]], as_second[[gene, cell]]);
                assert!((own - styled).abs() <= 1e-6 * own.max(1e-6));
            }
        } else {
            for gene in (0..view.n_genes()).filter(|&g| view.genes()[g].is_multiple_of(5)) {
                ratio.0 += as_second[[gene, cell]];
                ratio.1 += scale[[gene, cell]];
            }
        }
    }
    assert!(
        ratio.0 / ratio.1 > 1.3,
        "{} times as high, about 1.7 is true",
        ratio.0 / ratio.1
    );
}

#[test]
fn cells_that_come_in_any_order_keep_their_rows() {
    let (matrix, batch) = simulated(300, 50, 10);
    let view = filter(&matrix, 0, 0).unwrap();
    let s = Settings {
        max_epochs: Some(2),
        ..settings()
    };
    let trained = fit(&view, &batch, &s);
    let all = embed(&trained.model, &view, &batch, &|| false)
        .unwrap()
        .mean;
    let order: Vec<usize> = (0..300).rev().collect();
    let positions: Vec<Option<u32>> = (0..50).map(Some).collect();
    let reversed = CountsView::new(&matrix, order.clone(), &positions, 50).unwrap();
    let codes: Vec<usize> = order.iter().map(|&c| batch[c]).collect();
    let back = embed(&trained.model, &reversed, &codes, &|| false)
        .unwrap()
        .mean;
    for (row, &cell) in order.iter().enumerate() {
        for k in 0..4 {
            assert!((back[[row, k]] - all[[cell, k]]).abs() < 1e-5);
        }
    }
}

#[test]
fn repeated_fits_start_apart() {
    let (matrix, _) = simulated(60, 80, 12);
    let view = filter(&matrix, 3, 1).unwrap();
    let batch: Vec<usize> = (0..view.n_cells()).map(|cell| cell % 2).collect();
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &Design::single(2),
    };
    let fits = |numbers: &[usize]| {
        let mut finished = Vec::new();
        let mut keep = |fit: &ScoredFit| {
            finished.push(fit.clone());
            Ok(())
        };
        let fit = || repeat_fits(cells, &settings(), &Cpu, numbers, |_| Silent, &mut keep);
        let fits = with_threads(1, fit).unwrap();
        assert_eq!(fits, finished);
        fits
    };
    let all = fits(&[0, 1, 2]);
    assert_eq!(fits(&[2])[0], all[2], "the third alone is the same");
    let n_init = settings().adjustment_rules().n_init(32) as f64;
    for fit in &all {
        assert_eq!(fit.connections.len(), view.n_genes());
        let total: f64 = fit.connections.iter().sum();
        assert_eq!(total, n_init * view.n_genes() as f64);
    }
    assert_ne!(all[0].connections, all[1].connections);
    assert_ne!(all[1].connections, all[2].connections);
    let alone = train(cells, &settings(), &Cpu, &Silent).unwrap();
    assert_eq!(mean_connections(&alone.model.masks()), all[0].connections);
}
