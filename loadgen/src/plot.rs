//! Rate and latency over time, as SVG. The viewer's fonts are used: none is bundled.

use crate::error::Error;
use crate::measure::Sample;
use crate::report::Report;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (900, 640);

pub(crate) fn draw(path: &Path, report: &Report) -> Result<(), Error> {
    let failed = |why: String| Error::Draw { path: path.to_owned(), why };
    if report.samples.is_empty() {
        return Err(failed("there are no samples; measure for longer".to_owned()));
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    draw_on(&root, report).map_err(|error| failed(error.to_string()))?;
    root.present().map_err(|error| failed(error.to_string()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawResult = Result<(), Box<dyn std::error::Error>>;

fn draw_on(root: &Area<'_>, report: &Report) -> DrawResult {
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    let rate = |sample: &Sample| sample.events_per_s;
    lines(
        &upper,
        report,
        &format!("anabranch-loadgen {}: events a second", report.command),
        &[("events/s", rate, BLUE)],
    )?;
    let p50: fn(&Sample) -> f64 = |sample| sample.p50_ms;
    let p99: fn(&Sample) -> f64 = |sample| sample.p99_ms;
    lines(&lower, report, "latency, milliseconds", &[("p50", p50, GREEN), ("p99", p99, RED)])
}

fn lines(
    area: &Area<'_>,
    report: &Report,
    caption: &str,
    series: &[(&str, fn(&Sample) -> f64, RGBColor)],
) -> DrawResult {
    let samples = &report.samples;
    let end = samples.last().map_or(1.0, |sample| sample.at_s);
    let values = samples.iter().flat_map(|sample| series.iter().map(|(_, of, _)| of(sample)));
    let top = values.fold(0.0, f64::max).max(1e-3) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().x_desc("seconds").y_label_formatter(&|value| grouped(*value)).draw()?;
    for (name, of, colour) in series {
        let colour = *colour;
        let points = samples.iter().map(|sample| (sample.at_s, of(sample)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

/// 1234567 as 1 234 567; small values with their decimals.
fn grouped(value: f64) -> String {
    if value < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
