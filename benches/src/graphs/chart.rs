//! A line chart as SVG, by hand: both axes logarithmic, or the horizontal one with named places.

use std::fmt::Write;

/// A picture.
pub struct Chart {
    pub title: String,
    pub x: Axis,
    /// The vertical axis's title; it is logarithmic.
    pub y: String,
    pub series: Vec<Series>,
}

/// The horizontal axis.
pub struct Axis {
    pub title: String,
    /// Names of places 0, 1, 2, …; where there are none, the axis is logarithmic.
    pub marks: Vec<String>,
}

/// One line, or where places have names, one kind of mark.
pub struct Series {
    pub name: String,
    /// Which of the colours; the same peer has the same in every picture.
    pub colour: usize,
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The picture's text. What is not positive cannot stand on a logarithmic axis, and is left out.
    pub fn lines(&self) -> String {
        let frame = Frame::around(self);
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="{LEFT}" y="20" font-size="15">{}</text>
"##,
            self.title
        );
        self.axes(&frame, &mut svg);
        for (at, series) in self.series.iter().enumerate() {
            self.one(series, at, &frame, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, frame: &Frame, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for power in powers(frame.y) {
            let y = frame.y_of(power);
            line(svg, (LEFT, y), (right, y), "#ddd");
            text(svg, LEFT - 6.0, y + 4.0, "end", &shown(power));
        }
        if self.x.marks.is_empty() {
            for power in powers(frame.x) {
                let x = frame.x_of(power);
                line(svg, (x, TOP), (x, bottom), "#ddd");
                text(svg, x, bottom + 16.0, "middle", &shown(power));
            }
        }
        for (at, mark) in self.x.marks.iter().enumerate() {
            let x = frame.x_of(at as f64);
            let _ = writeln!(
                svg,
                r#"<text x="{x:.1}" y="{:.1}" text-anchor="end" transform="rotate(-35 {x:.1} {:.1})">{mark}</text>"#,
                bottom + 14.0,
                bottom + 14.0
            );
        }
        line(svg, (LEFT, TOP), (LEFT, bottom), "#333");
        line(svg, (LEFT, bottom), (right, bottom), "#333");
        text(svg, f64::midpoint(LEFT, right), HEIGHT - 8.0, "middle", &self.x.title);
        text(svg, 8.0, TOP - 10.0, "start", &self.y);
    }

    fn one(&self, series: &Series, at: usize, frame: &Frame, svg: &mut String) {
        let colour = COLOURS[series.colour % COLOURS.len()];
        let places: Vec<_> = series
            .points
            .iter()
            .filter(|(_, y)| *y > 0.0)
            .map(|(x, y)| (frame.x_of(*x), frame.y_of(*y)))
            .collect();
        if self.x.marks.is_empty() {
            let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                line.join(" ")
            );
        }
        for (x, y) in places {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#);
        }
        let y = TOP + 10.0 + 20.0 * at as f64;
        let x = WIDTH - RIGHT + 14.0;
        let _ =
            writeln!(svg, r#"<rect x="{x}" y="{:.1}" width="12" height="12" fill="{colour}"/>"#, y - 10.0);
        text(svg, x + 18.0, y, "start", &series.name);
    }
}

/// Where values lie in the picture: the ends of both axes, as logarithms but for named places.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    named: bool,
}

impl Frame {
    fn around(chart: &Chart) -> Frame {
        let points = || chart.series.iter().flat_map(|series| &series.points).filter(|(_, y)| *y > 0.0);
        let named = !chart.x.marks.is_empty();
        let x = if named {
            (-0.5, chart.x.marks.len() as f64 - 0.5)
        } else {
            ends(points().map(|(x, _)| x.log10()))
        };
        let (low, high) = ends(points().map(|(_, y)| y.log10()));
        Frame { x, y: (low.floor(), high.ceil().max(low.floor() + 1.0)), named }
    }

    fn x_of(&self, value: f64) -> f64 {
        let value = if self.named { value } else { value.log10() };
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - RIGHT - LEFT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value.log10() - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - BOTTOM - TOP)
    }
}

/// The least and the most; 0 and 1 of nothing, and never the same.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match ends {
        (low, high) if low < high => ends,
        (low, _) if low.is_finite() => (low, low + 1.0),
        _ => (0.0, 1.0),
    }
}

/// The powers of ten between two logarithms.
fn powers((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    (low.ceil() as i32..=high.floor() as i32).map(|power| 10_f64.powi(power))
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

fn shown(value: f64) -> String {
    match value {
        1e9.. => format!("{} G", value / 1e9),
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 80.0;
const COLOURS: [&str; 7] = ["#888888", "#c9b458", "#4477aa", "#66ccee", "#228833", "#aa3377", "#dd3311"];
