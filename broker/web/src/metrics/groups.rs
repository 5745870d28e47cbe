//! How far consumer groups are behind.

use super::{Exposition, Kind};
use crate::limits::GROUPS_SHOWN;
use anabranch_engine::Session;
use std::collections::BTreeMap;

/// Adds the lag of each group and stream; of the groups that are furthest behind, if there are many:
/// a client can make as many groups as it likes, and Prometheus would keep each of them.
pub(super) fn add(own: &Session, out: &mut Exposition) {
    let groups = own.groups();
    out.add("anabranch_groups", Kind::Gauge, "Groups with offsets.", groups.len() as f64);
    let mut lags = lags(own, &groups);
    lags.sort_unstable_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
    lags.truncate(GROUPS_SHOWN);
    let labels: Vec<_> = lags
        .iter()
        .map(|(group, stream, _)| [("group", group.as_str()), ("stream", stream.as_str())])
        .collect();
    let samples: Vec<(&[(&str, &str)], f64)> =
        labels.iter().zip(&lags).map(|(labels, lag)| (&labels[..], lag.2 as f64)).collect();
    let help = "Records that a group has not committed yet, of the groups furthest behind.";
    out.add_labelled("anabranch_group_lag_records", Kind::Gauge, help, &samples);
}

/// Group, stream, records.
fn lags(own: &Session, groups: &[String]) -> Vec<(String, String, u64)> {
    let catalog = own.catalog();
    let streams: BTreeMap<_, _> = catalog.streams().map(|stream| (stream.id, stream)).collect();
    let mut lags = Vec::new();
    for group in groups {
        let mut by_stream: BTreeMap<&str, u64> = BTreeMap::new();
        for ((stream, index), committed) in own.committed_offsets(group) {
            let Some(stream) = streams.get(&stream) else { continue };
            let marks = stream.partition(index).and_then(|id| own.marks(id));
            let Some(marks) = marks else { continue };
            // What retention has removed cannot be read any more.
            let next = committed.offset.max(marks.log_start().0);
            let lag = marks.high_watermark().0.saturating_sub(next);
            *by_stream.entry(&stream.name).or_default() += u64::try_from(lag).unwrap_or_default();
        }
        let all = by_stream.into_iter();
        lags.extend(all.map(|(stream, lag)| (group.clone(), stream.to_owned(), lag)));
    }
    lags
}
