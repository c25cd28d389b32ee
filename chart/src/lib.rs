//! Line charts as SVG files, for the pages in `docs/`.
//!
//! Always true: a file depends on the numbers alone, so the same numbers give the same file.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Size of one chart, in pixels.
const SIZE: (u32, u32) = (900, 320);
/// Colours of the lines, in their order: told apart by colour-blind people, too.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];
/// Colour of spans of time that are marked.
const SPAN: RGBColor = RGBColor(120, 120, 120);
const FONT: &str = "sans-serif";

/// One chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Title.
    pub title: String,
    /// Name of the x axis, with its unit.
    pub x: String,
    /// Name of the y axis, with its unit.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// Spans of x that are marked.
    pub spans: Vec<Range<f64>>,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Name.
    pub name: String,
    /// Points, in the order of their x.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A line with these points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points: points.into_iter().collect(),
        }
    }
}

/// Writes charts to one file, one below the other; makes its folder where there is none.
///
/// # Errors
/// The file cannot be written.
pub fn write(file: &Path, charts: &[Chart]) -> anyhow::Result<()> {
    let text = svg(charts)?;
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(file, text));
    written.with_context(|| format!("{} cannot be written", file.display()))
}

/// Draws charts, one below the other.
fn svg(charts: &[Chart]) -> anyhow::Result<String> {
    let rows = u32::try_from(charts.len()).context("too many charts")?;
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (SIZE.0, SIZE.1 * rows)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
        chart.draw(area)?;
    }
    root.present()?;
    drop(root);
    Ok(text)
}

impl Chart {
    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let least = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let most = points().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max);
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        // The legend has the room above the lines.
        let room = if self.lines.len() > 1 { 1.4 } else { 1.1 };
        let top = if top > 0.0 { top * room } else { 1.0 };
        let xs = if least < most { least..most } else { 0.0..1.0 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 17))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(xs.clone(), 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_labels(13)
            .y_labels(6)
            .x_label_formatter(&|x| label(*x))
            .y_label_formatter(&|y| label(*y))
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 13))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let spans = self.spans.iter().map(|span| {
            let corners = [(span.start.max(xs.start), 0.0), (span.end.min(xs.end), top)];
            Rectangle::new(corners, SPAN.mix(0.25).filled())
        });
        chart.draw_series(spans)?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        if self.lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.85))
                .border_style(SPAN.mix(0.5))
                .label_font((FONT, 13))
                .draw()?;
        }
        Ok(())
    }
}

/// A number at an axis, without digits that say nothing.
fn label(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "Lost minutes".to_owned(),
            x: "day".to_owned(),
            y: "minutes".to_owned(),
            lines: vec![
                Line::new("ours", [(0.0, 0.0), (1.0, 0.0)]),
                Line::new("theirs", [(0.0, 0.0), (1.0, 40.0)]),
            ],
            spans: vec![0.25..0.5],
        }
    }

    #[test]
    fn a_chart_names_what_it_shows_and_is_the_same_each_time() {
        let text = svg(&[chart()]).unwrap();
        for name in ["Lost minutes", "day", "minutes", "ours", "theirs"] {
            assert!(text.contains(name), "{name}");
        }
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        assert_eq!(text, svg(&[chart()]).unwrap());
    }

    #[test]
    fn charts_stand_one_below_the_other() {
        let text = svg(&[chart(), chart()]).unwrap();
        assert!(text.contains("height=\"640\""));
        assert_eq!(text.matches("Lost minutes").count(), 2);
    }

    #[test]
    fn no_points_are_no_fault() {
        let empty = Chart::default();
        assert!(svg(&[empty]).is_ok());
    }

    #[test]
    fn labels_have_no_needless_digits() {
        let labels = [0.0, 40.0, 1.5, 100.0].map(label);
        assert_eq!(labels, ["0", "40", "1.5", "100"]);
    }
}
