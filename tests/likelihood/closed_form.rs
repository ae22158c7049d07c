//! The closed forms against exact values, and the functions they are made of.

use scvae::kernels::{negative_binomial, poisson, special, zero_inflated};

use crate::close::assert_close;

fn table(text: &str) -> Vec<Vec<f64>> {
    let rows = text.lines().skip(1);
    rows.map(|l| l.split(',').map(|v| v.parse().unwrap()).collect())
        .collect()
}

#[test]
fn closed_form_matches_exact_values() {
    let rows = table(include_str!("../reference/likelihood_exact.csv"));
    assert!(rows.len() > 250);
    for row in rows {
        let [x, a, p, t] = row[..4] else {
            unreachable!()
        };
        let nb = negative_binomial(x, a, t);
        let zinb = zero_inflated(x, a, p, t);
        // Counts and means of 1e5 leave rounding of that size in a derivative that may itself be about one.
        let rounding = 1e-15 * (x + a.exp());
        let got = [
            (nb.value, 0.0, "nb"),
            (nb.d_log_mu, rounding, "nb d_log_mu"),
            (nb.d_log_theta, rounding, "nb d_log_theta"),
            (zinb.value, 0.0, "zinb"),
            (zinb.d_log_mu, rounding, "zinb d_log_mu"),
            (zinb.d_dropout, 0.0, "zinb d_dropout"),
            (zinb.d_log_theta, rounding, "zinb d_log_theta"),
        ];
        for ((got, rounding, name), want) in std::iter::zip(got, &row[4..]) {
            let absolute = if x == 0.0 { 0.0 } else { rounding };
            assert_close(got, *want, 1e-10, absolute, &format!("{name} at {row:?}"));
        }
    }
}

#[test]
fn closed_form_matches_scvi() {
    for row in table(include_str!("../reference/likelihood_scvi.csv")) {
        let [x, a, p, t, nb, zinb] = row[..] else {
            unreachable!()
        };
        assert_close(negative_binomial(x, a, t).value, nb, 1e-11, 1e-14, "nb");
        assert_close(zero_inflated(x, a, p, t).value, zinb, 1e-11, 1e-14, "zinb");
    }
}

#[test]
fn probabilities_add_up_to_one() {
    for (a, p, t) in [(0.5, -1.0, 0.3), (3.0, 0.7, 2.0), (-2.0, 4.0, -1.0)] {
        let sum = |f: &dyn Fn(f64) -> f64| (0..3000).map(|x| f(f64::from(x)).exp()).sum::<f64>();
        let nb = sum(&|x| negative_binomial(x, a, t).value);
        let zinb = sum(&|x| zero_inflated(x, a, p, t).value);
        let limit = sum(&|x| poisson(x, a).value);
        assert_close(nb, 1.0, 1e-10, 0.0, "nb");
        assert_close(zinb, 1.0, 1e-10, 0.0, "zinb");
        assert_close(limit, 1.0, 1e-10, 0.0, "poisson");
    }
}

#[test]
fn poisson_matches_its_definition() {
    let mut ln_factorial = 0.0;
    for x in 0..3000 {
        let count = f64::from(x);
        // ln x!, as the sum of the logarithms up to x.
        ln_factorial += count.max(1.0).ln();
        assert_close(
            special::ln_factorial(count),
            ln_factorial,
            1e-13,
            1e-14,
            "ln x!",
        );
        for log_mu in [-20.0f64, -1.0, 0.0, 2.5, 8.0] {
            let got = poisson(count, log_mu);
            let mu = log_mu.exp();
            let rounding = 1e-13 * (count * log_mu.abs() + mu + ln_factorial);
            let want = count * log_mu - mu - ln_factorial;
            assert_close(got.value, want, 0.0, rounding, "value");
            assert_close(
                got.d_log_mu,
                count - mu,
                1e-14,
                1e-15 * (count + mu),
                "d_log_mu",
            );
            assert_eq!((got.d_dropout, got.d_log_theta), (0.0, 0.0));
        }
    }
    // Beyond: Stirling's own series, to its second term (the third is below 1e-17 here).
    let x = 1e6f64;
    let series = (x + 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x);
    assert_close(special::ln_factorial(x), series, 1e-14, 0.0, "ln x!");
}

#[test]
fn the_negative_binomial_of_a_large_dispersion_is_poisson() {
    for log_mu in [-3.0f64, 0.0, 2.0] {
        for x in 0..40 {
            let nb = negative_binomial(f64::from(x), log_mu, 23.0);
            let limit = poisson(f64::from(x), log_mu);
            assert_close(nb.value, limit.value, 0.0, 1e-6, "value");
            assert_close(nb.d_log_mu, limit.d_log_mu, 0.0, 1e-6, "d_log_mu");
        }
    }
}

#[test]
fn special_functions_match_the_standard_library() {
    for i in -7000..=7000 {
        let x = f64::from(i) * 0.1;
        assert_close(special::exp(x), x.exp(), 1e-15, 0.0, "exp");
        let y = (f64::from(i) * 0.05).exp();
        assert_close(special::ln(y), y.ln(), 1e-15, 1e-17, "ln");
        assert_close(special::ln_1p(y), y.ln_1p(), 1e-15, 0.0, "ln_1p");
        let below = -0.999 / (1.0 + y);
        assert_close(special::ln_1p(below), below.ln_1p(), 2e-15, 0.0, "ln_1p");
    }
    assert!(special::exp(f64::NAN).is_nan() && special::ln(f64::NAN).is_nan());
    assert_eq!(special::exp(-1e4), 0.0);
    assert_eq!(special::exp(1e4), f64::INFINITY);
    assert_close(
        special::logaddexp(-1000.0, -1000.0),
        -1000.0 + 2f64.ln(),
        1e-15,
        0.0,
        "",
    );
    assert_close(
        special::softplus_excess(-30.0),
        (-60f64).exp() / 2.0,
        1e-12,
        0.0,
        "",
    );
}
