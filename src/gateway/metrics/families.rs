//! Writes one family of metrics: its description, and a sample for each set of labels.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Writes a counter. `name` has no `_total`: the encoder adds it.
pub(super) fn counter<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'static str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Counter, samples)
}

pub(super) fn gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &'static str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Gauge, samples)
}

/// Writes nothing if there is no sample.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        // The encoder would write braces around no labels.
        if labels.is_empty() {
            sample(&mut metric, kind, value)?;
        } else {
            sample(&mut metric.encode_family(&labels)?, kind, value)?;
        }
    }
    Ok(())
}

fn sample(metric: &mut MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
        _ => metric.encode_gauge(&value),
    }
}

/// A time as Unix time in seconds. A time before 1970 counts as 1970.
pub(super) fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub(super) fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}
