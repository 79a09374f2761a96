//! What both sides measured, round by round.

use serde::Serialize;

use crate::pair::Side;

/// One figure of each side for each round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Samples {
    etcd: Vec<f64>,
    holdfast: Vec<f64>,
}

impl Samples {
    /// Adds what one side measured in a round.
    pub(crate) fn push(&mut self, side: Side, value: f64) {
        match side {
            Side::Etcd => self.etcd.push(value),
            Side::Holdfast => self.holdfast.push(value),
        }
    }

    /// The middle one of a side.
    pub(crate) fn median(&self, side: Side) -> f64 {
        median(match side {
            Side::Etcd => self.etcd.clone(),
            Side::Holdfast => self.holdfast.clone(),
        })
    }

    /// The largest of each side, as if it were a round of its own.
    pub(crate) fn worst(&self) -> Self {
        let largest = |values: &[f64]| values.iter().copied().reduce(f64::max);
        Self {
            etcd: largest(&self.etcd).into_iter().collect(),
            holdfast: largest(&self.holdfast).into_iter().collect(),
        }
    }

    /// The middle one of what Holdfast measured in a round, divided by what etcd did in the same.
    pub(crate) fn ratio(&self) -> f64 {
        let pairs = self.holdfast.iter().zip(&self.etcd);
        median(pairs.map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// The middle one; of an even number, the mean of both in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_within_a_round_and_not_across() {
        let mut samples = Samples::default();
        // A machine whose mood changes by the round. The medians alone, 60 and 50, would say 1.2.
        for (etcd, holdfast) in [(100.0, 300.0), (10.0, 20.0), (50.0, 60.0)] {
            samples.push(Side::Etcd, etcd);
            samples.push(Side::Holdfast, holdfast);
        }
        assert_eq!(samples.ratio(), 2.0);
        assert_eq!(samples.median(Side::Etcd), 50.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
