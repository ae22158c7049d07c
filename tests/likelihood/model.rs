//! Models of every distribution.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::backend::Cpu;
use scvae::batches::{Design, InitialValues};
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::Likelihood;
use scvae::model::{Settings, TensorId, Vae};
use scvae::saved::{Covariate, SavedModel};
use scvae::training::{train, Silent, TrainingCells};

#[test]
fn a_model_s_settings_name_its_likelihood_as_the_analyst_does() {
    for (name, likelihood, has_dropout, has_dispersion) in [
        ("zinb", Likelihood::Zinb, true, true),
        ("nb", Likelihood::Nb, false, true),
        ("poisson", Likelihood::Poisson, false, false),
    ] {
        let settings: Settings =
            serde_json::from_str(&format!(r#"{{"likelihood":"{name}"}}"#)).unwrap();
        assert_eq!(settings.likelihood, likelihood);
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["likelihood"], name);
        // And the name stands for what it says: the model has the parameters of that distribution, no others.
        let design = Design::single(1);
        let initial = InitialValues::flat(5, &design);
        let model = Vae::new(&settings, &design, &initial, &Cpu).unwrap();
        let ids: Vec<TensorId> = model.parameters().into_iter().map(|p| p.0).collect();
        assert!(ids.contains(&TensorId::ScaleWeights));
        assert_eq!(
            ids.contains(&TensorId::DropoutWeights),
            has_dropout,
            "{name}"
        );
        assert_eq!(ids.contains(&TensorId::LogTheta), has_dispersion, "{name}");
    }
    for unknown in ["ZINB", "Nb", "negative binomial", ""] {
        let json = format!(r#"{{"likelihood":"{unknown}"}}"#);
        assert!(
            serde_json::from_str::<Settings>(&json).is_err(),
            "{unknown}"
        );
    }
}

#[test]
fn a_model_of_poisson_counts_learns_and_is_saved() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (n_cells, n_genes) = (120, 30);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for cell in 0..n_cells {
        for gene in 0..n_genes {
            // Three types of cells, ten genes each.
            let mean = if gene % 3 == cell % 3 { 4.0 } else { 0.3 };
            let count: f64 = rng.sample(rand_distr::Poisson::new(mean).unwrap());
            if count > 0.0 {
                genes.push(gene as u32);
                values.push(count as f32);
            }
        }
        offsets.push(genes.len());
    }
    let matrix = CountMatrix::from_csr(offsets, genes, values, n_genes).unwrap();
    let view = filter(&matrix, 0, 0).unwrap();
    let batch: Vec<usize> = (0..view.n_cells()).map(|c| c / 3 % 2).collect();
    let settings = Settings {
        likelihood: Likelihood::Poisson,
        n_hidden: 24,
        n_latent: 3,
        max_epochs: Some(30),
        batch_size: 40,
        lr: 1e-2,
        ..Settings::default()
    };
    let design = Design::single(2);
    let cells = TrainingCells {
        view: &view,
        batch: &batch,
        design: &design,
    };
    let trained = train(cells, &settings, &Cpu, &Silent).unwrap();
    let losses: Vec<f64> = (trained.history.epochs.iter())
        .map(|epoch| epoch.reconstruction_loss_train)
        .collect();
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
    assert!(trained.model.decoder.log_theta.is_none());
    let gene_names = (0..view.n_genes()).map(|g| format!("gene{g}")).collect();
    let batch_names = vec!["a".to_string(), "b".to_string()];
    let saved = SavedModel {
        gene_names,
        covariates: vec![Covariate {
            name: "batch".into(),
            levels: batch_names.clone(),
        }],
        batch_names,
        batch_columns: Vec::new(),
        cell_groups: None,
        library: vec![1.0; 2],
        model: trained.model,
        history: trained.history,
        evidence: None,
        expression: None,
    };
    let bytes = saved.to_bytes().unwrap();
    let loaded = SavedModel::from_bytes(&bytes).unwrap();
    assert_eq!(loaded.model.settings.likelihood, Likelihood::Poisson);
    assert_eq!(loaded.to_bytes().unwrap(), bytes);
}
