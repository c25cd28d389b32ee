//! Prometheus's text format.
//!
//! `prometheus-client` writes another format, in which counters have other names.

use std::fmt::{Display, Write as _};

/// The text so far.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

/// A metric whose samples are written.
pub(super) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric("gauge", name, help)
    }

    /// Begins a counter.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric("counter", name, help)
    }

    /// Begins a histogram.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric("histogram", name, help)
    }

    fn metric(&mut self, kind: &str, name: &'static str, help: &str) -> Metric<'_> {
        let text = &mut self.0;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { text, name }
    }
}

impl Metric<'_> {
    /// Writes the only sample.
    pub(super) fn value(&mut self, value: impl Display) {
        self.sample("", &[], value);
    }

    /// Writes one sample of several.
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, value);
    }

    /// Writes a sample whose name has a suffix.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.name);
    }
}

/// Value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
