//! An SVG of a run: how many a second, and how long one of a hundred took.

use crate::recorder::{Recorder, Summary, Timing};
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::{error::Error, path::Path};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 480;

/// One line of a chart: values by second.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

pub fn draw(file: &Path, title: &str, recorder: &Recorder) -> Result<()> {
    let rates = lines(recorder, |times| times.count);
    let mut latencies = lines(recorder, |times| times.p99);
    for (_, micros) in latencies.iter_mut().flat_map(|line| &mut line.points) {
        *micros /= 1e3;
    }
    let draw = || -> Result<(), Box<dyn Error>> {
        let canvas = SVGBackend::new(file, (WIDTH, HEIGHT)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let (upper, lower) = canvas.split_vertically(HEIGHT / 2);
        panel(&upper, &format!("{title}: a second"), &rates)?;
        panel(&lower, "p99, ms", &latencies)?;
        canvas.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

#[expect(clippy::cast_precision_loss, reason = "points of a drawing")]
fn lines(recorder: &Recorder, value: fn(&Summary) -> u64) -> Vec<Line> {
    let seconds = recorder.seconds();
    let line = |timing: Timing| {
        let points = seconds.iter().filter_map(|(second, row)| {
            let times = row.times.get(&timing)?;
            Some((*second as f64, value(times) as f64))
        });
        Line {
            name: timing.name().to_owned(),
            points: points.collect(),
        }
    };
    let all = Timing::ALL.into_iter().map(line);
    all.filter(|line| !line.points.is_empty()).collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, title: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    const MARGIN: i32 = 10;
    const LABELS: i32 = 60;
    let points = || lines.iter().flat_map(|line| &line.points);
    let last = points().map(|(second, _)| *second).fold(1.0, f64::max);
    let greatest = points().map(|(_, value)| *value).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(MARGIN)
        .x_label_area_size(MARGIN * 2)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..last, 0.0..greatest * 1.1)?;
    chart.configure_mesh().disable_x_mesh().draw()?;
    for (number, line) in lines.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(
                line.points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], color));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_chart_names_what_it_shows() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("roost-loadtest-{}.svg", std::process::id()));
        let recorder = Recorder::default();
        recorder.begin();
        recorder.record(Timing::Delivery, clock::now());
        draw(&file, "fanout", &recorder).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        for word in ["<svg", "fanout", "delivery", "p99"] {
            assert!(svg.contains(word), "{word} is missing");
        }
    }
}
