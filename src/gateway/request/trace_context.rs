//! The trace that a request belongs to (W3C Trace Context), and the gateway's spans in it.
//!
//! A valid `traceparent` of the caller is continued: the provider gets the same trace id, and the id of a span of the
//! gateway. Without one, the gateway begins a trace, but only if it exports spans. If it exports the spans of this
//! trace, each attempt has a span id of its own; otherwise the provider gets the id of the request itself, which the
//! access log has as `span_id`.
//!
//! The hard case is a gateway that exports nothing and gets no `traceparent`. It sends none. With the flag "not sampled",
//! the next service would drop its own spans, because samplers follow their parent by default; with the flag "sampled",
//! its spans would have a parent that does not exist.
//!
//! The ids are random, but not secret: a fast generator makes them, one for each thread.
//!
//! Rejected: the propagator of OpenTelemetry. It allocates for each header, and is not there without the feature `otlp`.

use std::fmt;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The flag that says that the caller may have recorded its spans.
const SAMPLED: u8 = 0x01;

/// The flag of a trace id that is random in its last seven bytes (Trace Context Level 2). Other flags are not defined.
const RANDOM: u8 = 0x02;

/// The id of a trace. Never 0. Displayed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// The id of a span. Never 0. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl TraceId {
    fn random() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl SpanId {
    /// A new id.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The caller's, or a new one.
    pub trace_id: TraceId,
    /// The caller's span. None if the gateway began the trace.
    pub parent: Option<SpanId>,
    /// The gateway's span of the whole request.
    pub span: SpanId,
    /// Whether the gateway exports the spans of this request.
    pub is_exported: bool,
    flags: u8,
}

/// `traceparent` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace_id: TraceId,
    span: SpanId,
    flags: u8,
}

impl TraceContext {
    /// The trace of a request with these headers. `sampler` is there if spans are exported. None if the request has no
    /// valid `traceparent`, and spans are not exported.
    pub(crate) fn of(headers: &HeaderMap, sampler: Option<Sampler>) -> Option<Self> {
        let parent = Parent::of(headers);
        if parent.is_none() && sampler.is_none() {
            return None;
        }
        let trace_id = parent.map_or_else(TraceId::random, |parent| parent.trace_id);
        let parent_flags = parent.map(|parent| parent.flags);
        let is_exported = sampler.is_some_and(|sampler| sampler.samples(trace_id, parent_flags));
        let flags = match (sampler, is_exported) {
            (None, _) => parent_flags.unwrap_or_default(),
            (Some(_), true) => parent_flags.unwrap_or_default() | SAMPLED,
            (Some(_), false) => parent_flags.unwrap_or_default() & !SAMPLED,
        };
        Some(Self { trace_id, parent: parent.map(|parent| parent.span), span: SpanId::random(), is_exported, flags })
    }

    /// The id of the span of the next attempt to reach the provider.
    pub(crate) fn attempt(&self) -> SpanId {
        if self.is_exported { SpanId::random() } else { self.span }
    }

    /// The `traceparent` of a request that `span` sends.
    pub(crate) fn header(&self, span: SpanId) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("00-{}-{span}-{:02x}", self.trace_id, self.flags)).ok()
    }
}

impl Parent {
    /// The `traceparent` of a request with these headers. None if it breaks a rule of W3C Trace Context section 3.2, or
    /// there are several.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (head, rest) = line.as_bytes().split_at_checked(LENGTH)?;
        let [version, trace_id, span, flags] = fields(head)?;
        // A later version may have further fields behind a hyphen. It is read like version 00 (section 4.3).
        let is_known = match hex(version)? {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let (trace_id, span, flags) =
            (hex(trace_id)?, u64::try_from(hex(span)?).ok()?, u8::try_from(hex(flags)?).ok()?);
        let is_valid = is_known && trace_id != 0 && span != 0;
        is_valid.then_some(Self { trace_id: TraceId(trace_id), span: SpanId(span), flags: flags & (SAMPLED | RANDOM) })
    }
}

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The four fields of a text of [`LENGTH`].
fn fields(text: &[u8]) -> Option<[&[u8]; 4]> {
    let hyphens = [2, 35, 52];
    let fields = [&text[..2], &text[3..35], &text[36..52], &text[53..]];
    hyphens.iter().all(|at| text[*at] == b'-').then_some(fields)
}

/// The number that these digits make. None unless all are hexadecimal digits in lower case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Which traces are exported (`OTEL_TRACES_SAMPLER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Whether the caller's decision counts, if there is one.
    pub follows_parent: bool,
    /// The decision about a trace that the caller has not decided about.
    pub share: TraceShare,
}

/// A share of all traces. The trace id decides, so all services with the same share choose the same traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceShare(u64);

impl TraceShare {
    /// Every trace.
    pub const ALL: Self = Self(1 << 63);
    /// No trace.
    pub const NONE: Self = Self(0);

    /// None if `ratio` is not within 0 and 1.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        // The conversion of a float saturates. The SDKs of OpenTelemetry compute the limit in the same way.
        (0.0..=1.0).contains(&ratio).then_some(Self((ratio * Self::ALL.0 as f64) as u64))
    }

    fn includes(self, trace_id: TraceId) -> bool {
        (trace_id.0 as u64) >> 1 < self.0
    }
}

impl Default for Sampler {
    /// `parentbased_always_on`, the default of OpenTelemetry.
    fn default() -> Self {
        Self { follows_parent: true, share: TraceShare::ALL }
    }
}

impl Sampler {
    fn samples(self, trace_id: TraceId, parent_flags: Option<u8>) -> bool {
        match parent_flags {
            Some(flags) if self.follows_parent => flags & SAMPLED != 0,
            _ => self.share.includes(trace_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (TRACEPARENT, line.parse().unwrap())).collect()
    }

    fn of(line: &str, sampler: Option<Sampler>) -> Option<TraceContext> {
        TraceContext::of(&headers(&[line]), sampler)
    }

    fn header(trace: TraceContext, span: SpanId) -> String {
        trace.header(span).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_valid_traceparent_is_continued_with_a_new_span_id() {
        for (line, flags) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), "01"),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), "00"),
            // The random flag passes, flags that are not defined do not.
            (format!("00-{TRACE}-00f067aa0ba902b7-ff"), "03"),
            // A later version.
            (format!("01-{TRACE}-00f067aa0ba902b7-01"), "01"),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what"), "01"),
        ] {
            let trace = of(&line, None).unwrap();
            assert_eq!(
                (trace.trace_id.to_string().as_str(), trace.parent),
                (TRACE, Some(SpanId(0x00f0_67aa_0ba9_02b7)))
            );
            assert_ne!(Some(trace.span), trace.parent);
            assert_eq!(trace.attempt(), trace.span, "the access log has the id that the provider gets");
            assert_eq!(header(trace, trace.span), format!("00-{TRACE}-{}-{flags}", trace.span), "{line}");
        }
    }

    #[test]
    fn a_faulty_traceparent_counts_as_absent() {
        for faulty in [
            "",
            "00",
            "00-xyz-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
        ] {
            assert_eq!(of(faulty, None), None, "{faulty}");
            let begun = of(faulty, Some(Sampler::default())).unwrap();
            assert!(begun.parent.is_none() && begun.trace_id.to_string() != TRACE, "{faulty}");
        }
        let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(TraceContext::of(&headers(&[&valid, &valid]), None), None, "two lines");
        assert_eq!(TraceContext::of(&HeaderMap::new(), None), None);
    }

    #[test]
    fn a_trace_is_begun_only_if_spans_are_exported() {
        fastrand::seed(7);
        let begun = |sampler| TraceContext::of(&HeaderMap::new(), sampler);
        let trace = begun(Some(Sampler::default())).unwrap();
        assert!(trace.is_exported && trace.parent.is_none());
        let attempt = trace.attempt();
        assert_ne!(attempt, trace.span, "each attempt has a span of its own");
        assert_eq!(header(trace, attempt), format!("00-{}-{attempt}-01", trace.trace_id));
        fastrand::seed(7);
        assert_eq!(begun(Some(Sampler::default())), Some(trace), "a seed makes the ids repeatable");
        let unsampled = begun(Some(Sampler { share: TraceShare::NONE, ..Sampler::default() })).unwrap();
        assert_eq!((unsampled.is_exported, unsampled.attempt()), (false, unsampled.span));
        assert!(header(unsampled, unsampled.span).ends_with("-00"));
    }

    #[test]
    fn a_sampler_follows_the_caller_or_decides_by_the_trace_id() {
        let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
        let decides = |follows_parent, share| {
            let sampler = Some(Sampler { follows_parent, share });
            let flags = |line| header(of(line, sampler).unwrap(), SpanId(1)).split_off(53);
            let exported = |line| of(line, sampler).unwrap().is_exported;
            let decided = [exported(&sampled), exported(&unsampled)];
            assert_eq!([flags(&sampled), flags(&unsampled)], decided.map(|sampled| format!("0{}", u8::from(sampled))));
            decided
        };
        assert_eq!(decides(true, TraceShare::NONE), [true, false]);
        assert_eq!(decides(false, TraceShare::NONE), [false, false]);
        assert_eq!(decides(false, TraceShare::ALL), [true, true]);
        // The lower half of the trace id is 0xa3ce929d0e0e4736: 0.6398 of its range.
        assert_eq!(decides(false, TraceShare::new(0.63).unwrap()), [false, false]);
        assert_eq!(decides(false, TraceShare::new(0.64).unwrap()), [true, true]);
        assert_eq!((TraceShare::new(0.0), TraceShare::new(1.0)), (Some(TraceShare::NONE), Some(TraceShare::ALL)));
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|ratio| TraceShare::new(ratio).is_none()));
        assert!(TraceShare::ALL.includes(TraceId(u128::MAX)));
    }
}
