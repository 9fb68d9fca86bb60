//! Plots, as SVG text that stands in the report itself.

use plotters::prelude::*;

use super::ReportError;
use super::numbers::duration;

/// A line of a plot. Points without a value leave a gap.
pub(super) struct Line {
    /// What it is called.
    pub(super) name: String,
    /// Its points.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A plot.
pub(super) struct Plot<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// What is below.
    pub(super) x: &'a str,
    /// Its lines.
    pub(super) lines: Vec<Line>,
    /// Whether values are durations, which are shown on a logarithmic scale.
    pub(super) durations: bool,
    /// Whether the horizontal scale shows how many nines a quantile has.
    pub(super) nines: bool,
}

/// Colours that people with any kind of sight tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

const SIZE: (u32, u32) = (860, 300);

impl Plot<'_> {
    /// The plot as an `<svg>` element; nothing where there is nothing to show.
    pub(super) fn svg(&self) -> Result<String, ReportError> {
        let values =
            || self.lines.iter().flat_map(|line| &line.points).filter_map(|(x, y)| Some((*x, (*y)?)));
        let (left, right) = bounds(values().map(|(x, _)| x));
        let (low, high) = bounds(values().map(|(_, y)| y));
        if right.is_nan() || left.is_nan() || right <= left || !high.is_finite() {
            return Ok(String::new());
        }
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let mut chart = ChartBuilder::on(&root);
            chart
                .caption(self.title, ("sans-serif", 17))
                .margin(8)
                .x_label_area_size(36)
                .y_label_area_size(72);
            match self.durations {
                true => {
                    // A decade is the least that is shown of a logarithmic scale.
                    let low = low.max(1e-7);
                    let range = (low * 0.8).min(high / 3.0)..(high * 1.25).max(low * 3.0);
                    let mut chart =
                        chart.build_cartesian_2d(left..right, range.log_scale()).map_err(ReportError::of)?;
                    self.draw(&mut chart, &|y| duration(*y))?;
                }
                false => {
                    let mut chart = chart
                        .build_cartesian_2d(left..right, 0.0..(high * 1.1).max(1e-9))
                        .map_err(ReportError::of)?;
                    self.draw(&mut chart, &|y| format!("{y:.0}"))?;
                }
            }
            root.present().map_err(ReportError::of)?;
        }
        Ok(svg)
    }

    fn draw<'c, Y>(
        &self,
        chart: &mut ChartContext<'c, SVGBackend<'c>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>,
        y_label: &dyn Fn(&f64) -> String,
    ) -> Result<(), ReportError>
    where
        Y: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        // Ten labels of a short scale need a digit more to be ten.
        let widest =
            self.lines.iter().flat_map(|line| &line.points).fold(0.0_f64, |most, (x, _)| most.max(*x));
        let places = usize::from(widest < 10.0);
        let nines = |x: &f64| if self.nines { quantile(*x) } else { format!("{x:.places$}") };
        chart
            .configure_mesh()
            .x_desc(self.x)
            .x_labels(if self.nines { 6 } else { 10 })
            .x_label_formatter(&nines)
            .y_label_formatter(&y_label)
            .y_label_style(("sans-serif", 12))
            .x_label_style(("sans-serif", 12))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(ReportError::of)?;
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or(BLACK);
            for (part, piece) in line.pieces().into_iter().enumerate() {
                let drawn = chart
                    .draw_series(LineSeries::new(piece, colour.stroke_width(2)))
                    .map_err(ReportError::of)?;
                if part == 0 {
                    drawn.label(&line.name).legend(move |(x, y)| {
                        PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
                    });
                }
            }
        }
        if self.lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.85))
                .label_font(("sans-serif", 12))
                .draw()
                .map_err(ReportError::of)?;
        }
        Ok(())
    }
}

impl Line {
    /// Stretches without a gap.
    fn pieces(&self) -> Vec<Vec<(f64, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (x, y) in &self.points {
            match (y, pieces.last_mut()) {
                (Some(y), Some(piece)) => piece.push((*x, *y)),
                (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
                _ => {}
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// The quantile at a place of a scale of nines: 1 is 90 %, 2 is 99 %.
fn quantile(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let places = (nines - 1.0).max(0.0).ceil() as usize;
    format!("{percent:.places$}%")
}
