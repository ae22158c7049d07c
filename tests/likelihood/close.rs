//! Comparisons of numbers.

/// `|got - want| <= relative * |want| + absolute`.
pub fn assert_close(got: f64, want: f64, relative: f64, absolute: f64, what: &str) {
    assert!(
        (got - want).abs() <= relative * want.abs() + absolute,
        "{what}: {got:e} instead of {want:e}"
    );
}

pub fn assert_all_close(got: &[f32], want: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, &want)) in std::iter::zip(got, want).enumerate() {
        assert_close(
            f64::from(got),
            want,
            relative,
            absolute,
            &format!("{what}[{i}]"),
        );
    }
}
