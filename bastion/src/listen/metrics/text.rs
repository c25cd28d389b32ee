//! Prometheus's text format.

use std::fmt::{Display, Write as _};

use super::names::Metric;

/// The text, as far as it is written.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn begin(&mut self, metric: Metric) {
        let Metric { name, kind, help } = metric;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn one(&mut self, metric: Metric, value: impl Display) {
        self.begin(metric);
        self.value(metric.name, &[], value);
    }

    pub(super) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
