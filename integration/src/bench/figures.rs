//! Measured figures, the bounds that are demanded of them, and whether they hold.

use serde::Serialize;

/// What is demanded of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Ours is at most this part of theirs.
    Ratio(f64),
    /// Ours is below this, in the figure's unit.
    Below(f64),
    /// Ours is at most this, in the figure's unit.
    AtMost(f64),
    /// Ours is at least this, in the figure's unit.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name for programs.
    pub name: String,
    /// What it is, in words.
    pub what: String,
    /// In which unit; empty for a plain number.
    pub unit: &'static str,
    /// The reference's.
    pub theirs: Option<f64>,
    /// Ours.
    pub ours: f64,
    /// Ours as a part of theirs.
    pub ratio: Option<f64>,
    /// What is demanded.
    pub bound: Option<Bound>,
    /// Whether that holds.
    pub holds: Option<bool>,
}

impl Figure {
    /// A figure of ours, of which nothing is demanded.
    #[must_use]
    pub fn new(name: &str, what: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self {
            name: name.to_owned(),
            what: what.into(),
            unit,
            theirs: None,
            ours,
            ratio: None,
            bound: None,
            holds: None,
        }
    }

    /// With the reference's.
    #[must_use]
    pub fn beside(mut self, theirs: f64) -> Self {
        self.theirs = Some(theirs);
        self.ratio = (theirs > 0.0).then(|| self.ours / theirs);
        self.judge()
    }

    /// With what is demanded.
    #[must_use]
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self.judge()
    }

    fn judge(mut self) -> Self {
        self.holds = self.bound.and_then(|bound| match bound {
            Bound::Ratio(most) => self.ratio.map(|ratio| ratio <= most),
            Bound::Below(bound) => Some(self.ours < bound),
            Bound::AtMost(bound) => Some(self.ours <= bound),
            Bound::AtLeast(bound) => Some(self.ours >= bound),
        });
        self
    }

    /// The figure as columns: what, theirs, ours, ratio, bound, whether it holds.
    #[must_use]
    pub fn row(&self) -> [String; 6] {
        let value = |value: f64| format!("{} {}", number(value), self.unit).trim().to_owned();
        let bound = self.bound.map(|bound| match bound {
            Bound::Ratio(most) => format!("at most 1/{}", number(1.0 / most)),
            Bound::Below(bound) => format!("below {}", value(bound)),
            Bound::AtMost(bound) => format!("at most {}", value(bound)),
            Bound::AtLeast(bound) => format!("at least {}", value(bound)),
        });
        let holds = self.holds.map(|holds| if holds { "yes" } else { "NO" });
        [
            self.what.clone(),
            self.theirs.map(value).unwrap_or_default(),
            value(self.ours),
            (self.ratio.filter(|ratio| *ratio > 0.0))
                .map(|ratio| format!("1/{}", number(1.0 / ratio)))
                .unwrap_or_default(),
            bound.unwrap_or_default(),
            holds.unwrap_or_default().to_owned(),
        ]
    }
}

/// The heads of the columns.
pub const HEADS: [&str; 6] = ["what", "reference", "ours", "ratio", "bound", "holds"];

/// About three digits that count.
fn number(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The value that so many percent of all do not exceed (nearest rank); `None` of none.
#[must_use]
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_judged_whatever_comes_first() {
        let figure = || Figure::new("m", "memory", "MB", 9.0);
        let bound = Bound::Ratio(0.1);
        assert_eq!(figure().bound(bound).holds, None);
        assert_eq!(figure().bound(bound).beside(100.0).holds, Some(true));
        assert_eq!(figure().beside(80.0).bound(bound).holds, Some(false));
        assert_eq!(figure().bound(Bound::Below(9.0)).holds, Some(false));
        assert_eq!(figure().bound(Bound::AtMost(9.0)).holds, Some(true));
        assert_eq!(figure().bound(Bound::AtLeast(9.5)).holds, Some(false));
    }

    #[test]
    fn a_row_says_all() {
        let figure = Figure::new("m", "memory", "MB", 9.04).beside(126.4);
        let row = figure.bound(Bound::Ratio(0.1)).row();
        let expected = ["memory", "126 MB", "9.04 MB", "1/14", "at most 1/10", "yes"];
        assert_eq!(row, expected);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(100.0));
        assert_eq!(percentile(&values, 99), Some(198.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
