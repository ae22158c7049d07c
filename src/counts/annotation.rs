//! What a file says of its cells or its genes beside the counts: columns, in the type that they were stored in.

/// A column of the annotation, `None` where a value is missing.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Text.
    Text(Vec<Option<String>>),
    /// Each value is one of `levels`, by its number from 0.
    Categories {
        /// The level of each cell or gene.
        codes: Vec<Option<u32>>,
        /// What the levels are called.
        levels: Vec<String>,
        /// Whether the order of the levels means something.
        ordered: bool,
    },
    /// True or false.
    Logical(Vec<Option<bool>>),
    /// Whole numbers.
    Integer(Vec<Option<i64>>),
    /// Numbers that were stored in single precision.
    Single(Vec<Option<f32>>),
    /// Numbers in double precision.
    Double(Vec<Option<f64>>),
}

/// All columns of a table that could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotation {
    /// Names and values, in the order of the file.
    pub columns: Vec<(String, Column)>,
    /// Columns of a kind that cannot be read, and why.
    pub left_out: Vec<(String, String)>,
}

impl Annotation {
    /// The rows for which `keep` is true.
    pub(super) fn select(&mut self, keep: &[bool]) {
        for (_, column) in &mut self.columns {
            column.select(keep);
        }
    }
}

impl Column {
    /// Text without missing values.
    pub(super) fn text(values: &[String]) -> Self {
        Column::Text(values.iter().cloned().map(Some).collect())
    }

    /// Number of values.
    pub fn n_values(&self) -> usize {
        match self {
            Column::Text(v) => v.len(),
            Column::Categories { codes, .. } => codes.len(),
            Column::Logical(v) => v.len(),
            Column::Integer(v) => v.len(),
            Column::Single(v) => v.len(),
            Column::Double(v) => v.len(),
        }
    }

    /// The values as text: numbers in their own precision, whole ones without decimals, booleans as `TRUE` and `FALSE`.
    pub fn into_text(self) -> Vec<Option<String>> {
        fn shown<T: ToString>(values: Vec<Option<T>>) -> Vec<Option<String>> {
            values
                .into_iter()
                .map(|v| v.map(|v| v.to_string()))
                .collect()
        }
        match self {
            Column::Text(v) => v,
            Column::Categories { codes, levels, .. } => codes
                .into_iter()
                .map(|code| code.and_then(|c| levels.get(c as usize).cloned()))
                .collect(),
            Column::Logical(v) => {
                let name = |v| if v { "TRUE" } else { "FALSE" };
                shown(v.into_iter().map(|v| v.map(name)).collect())
            }
            Column::Integer(v) => shown(v),
            Column::Single(v) => shown(v),
            Column::Double(v) => shown(v),
        }
    }

    /// Makes the values missing for which `missing` is true.
    pub(super) fn hide(&mut self, missing: &[bool]) {
        fn hide<T>(values: &mut [Option<T>], missing: &[bool]) {
            for (value, &missing) in values.iter_mut().zip(missing) {
                if missing {
                    *value = None;
                }
            }
        }
        match self {
            Column::Text(v) => hide(v, missing),
            Column::Categories { codes, .. } => hide(codes, missing),
            Column::Logical(v) => hide(v, missing),
            Column::Integer(v) => hide(v, missing),
            Column::Single(v) => hide(v, missing),
            Column::Double(v) => hide(v, missing),
        }
    }

    fn select(&mut self, keep: &[bool]) {
        match self {
            Column::Text(v) => select(v, keep),
            Column::Categories { codes, .. } => select(codes, keep),
            Column::Logical(v) => select(v, keep),
            Column::Integer(v) => select(v, keep),
            Column::Single(v) => select(v, keep),
            Column::Double(v) => select(v, keep),
        }
    }
}

/// The values for which `keep` is true.
pub(super) fn select<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut kept = keep.iter();
    values.retain(|_| kept.next() == Some(&true));
}
