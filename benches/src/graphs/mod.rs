//! Cost as work grows: one graph each, drawn from measurements that are kept beside the results.

mod chart;
mod points;

use crate::figure::Figure;
use crate::run::{self, Entry, Measurement};
use crate::workload;
use crate::{Options, report};
use anyhow::{Context, Result, ensure};
use chart::{Axis, Chart, Series};
use clap::Args;
use points::{ALL, Graph, Kind};
use std::path::{Path, PathBuf};

/// What to draw, and where to.
#[derive(Args, Clone)]
pub struct Which {
    /// Graphs to measure anew, separated by commas: in-flight, connections, objects, load; all by default. `none` only draws.
    #[arg(long, value_delimiter = ',')]
    graphs: Vec<String>,
    /// Folder for the pictures.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/graphs"))]
    pictures: PathBuf,
}

/// Measures the points, keeps them in graphs.json beside the results, and draws.
pub fn run(options: &Options, which: &Which) -> Result<()> {
    ensure!(options.rounds > 0, "no rounds were asked for");
    let peers = run::chosen_peers(&options.peers)?;
    let mut kept = if options.add { report::read(&options.out, JSON)? } else { Vec::new() };
    for graph in ALL
        .iter()
        .filter(|graph| which.graphs.is_empty() || which.graphs.iter().any(|name| name == graph.name))
    {
        let anew = measure(graph, &peers, &kept, options)?;
        kept.retain(|old| !anew.iter().any(|new| new.workload == old.workload && new.peer == old.peer));
        kept.extend(anew);
        report::write_measurements(&options.out, JSON, &kept)?;
    }
    std::fs::create_dir_all(&which.pictures)
        .with_context(|| format!("{} cannot be created", which.pictures.display()))?;
    for graph in ALL {
        for (name, picture) in pictures(graph, &kept) {
            write(&which.pictures, &name, &picture)?;
        }
        println!("{}", table(graph, &kept));
    }
    Ok(())
}

fn write(folder: &Path, name: &str, picture: &str) -> Result<()> {
    let path = folder.join(format!("{name}.svg"));
    std::fs::write(&path, picture).with_context(|| format!("{} cannot be written", path.display()))
}

/// All points of a graph, round after round.
fn measure(
    graph: &Graph,
    peers: &[Entry],
    kept: &[Measurement],
    options: &Options,
) -> Result<Vec<Measurement>> {
    let seconds = if options.quick { QUICK_SECONDS } else { options.seconds };
    let mut taken = Vec::new();
    for round in 1..=options.rounds {
        for x in graph.xs {
            for peer in peers.iter().filter(|peer| graph.most(peer.name) >= *x) {
                let name = match graph.kind {
                    Kind::Load => {
                        let Some(highest) = highest(kept, peer.name) else { continue };
                        format!("load-{:.0}", (highest * *x as f64 / 100.0).max(1.0))
                    }
                    Kind::Lines(_) => graph.point(*x),
                };
                let workload = workload::find(&name)?;
                if !(peer.takes_part)(&workload) {
                    continue;
                }
                let mut one = run::undisturbed(round, *peer, &workload, seconds, options)
                    .with_context(|| format!("{} failed at {name}", peer.name))?;
                one.workload = graph.point(*x);
                eprintln!("{}", report::progress(&one, options.rounds));
                taken.push(one);
            }
        }
    }
    Ok(taken)
}

/// The most calls a second that a peer made with any number in flight that was measured.
fn highest(kept: &[Measurement], peer: &str) -> Option<f64> {
    let points = points::IN_FLIGHT
        .xs
        .iter()
        .filter_map(|x| median(kept, peer, &points::IN_FLIGHT.point(*x), Figure::CallsPerSecond));
    points.reduce(f64::max)
}

fn median(kept: &[Measurement], peer: &str, point: &str, figure: Figure) -> Option<f64> {
    let of = kept.iter().filter(|taken| taken.peer == peer && taken.workload == point);
    report::median(of.filter_map(|taken| taken.figures.get(&figure).copied()).collect())
}

fn peers_of(graph: &Graph, kept: &[Measurement]) -> Vec<&'static str> {
    let has = |peer: &&str| {
        graph
            .xs
            .iter()
            .any(|x| kept.iter().any(|taken| taken.peer == *peer && taken.workload == graph.point(*x)))
    };
    crate::peers::NAMES.iter().copied().filter(|peer| has(peer)).collect()
}

fn pictures(graph: &Graph, kept: &[Measurement]) -> Vec<(String, String)> {
    let peers = peers_of(graph, kept);
    match graph.kind {
        Kind::Lines(figures) => figures
            .iter()
            .map(|(figure, name, title)| {
                let series = peers.iter().map(|peer| {
                    let points = graph
                        .xs
                        .iter()
                        .filter_map(|x| Some((*x as f64, median(kept, peer, &graph.point(*x), *figure)?)));
                    let colour = crate::peers::NAMES.iter().position(|name| name == peer).unwrap_or(0);
                    Series { name: (*peer).to_owned(), colour, points: points.collect() }
                });
                let chart = Chart {
                    title: (*title).to_owned(),
                    x: Axis { title: graph.title.to_owned(), marks: Vec::new() },
                    y: figure.unit().to_owned(),
                    series: series.collect(),
                };
                ((*name).to_owned(), chart.lines())
            })
            .collect(),
        Kind::Load => vec![(graph.name.to_owned(), load_chart(graph, kept, &peers).lines())],
    }
}

/// Three marks for each peer and load: half, 99 and 99.9 of a hundred calls were faster.
fn load_chart(graph: &Graph, kept: &[Measurement], peers: &[&str]) -> Chart {
    let places: Vec<(&str, u64)> =
        graph.xs.iter().flat_map(|x| peers.iter().map(|peer| (*peer, *x))).collect();
    let series = LATENCIES.iter().enumerate().map(|(colour, figure)| {
        let points = places
            .iter()
            .enumerate()
            .filter_map(|(at, (peer, x))| Some((at as f64, median(kept, peer, &graph.point(*x), *figure)?)));
        Series { name: figure.unit().to_owned(), colour: 2 * colour + 2, points: points.collect() }
    });
    Chart {
        title: "What a call takes from when it was due, at a share of the peer's highest throughput"
            .to_owned(),
        x: Axis {
            title: graph.title.to_owned(),
            marks: places.iter().map(|(peer, x)| format!("{peer} {x} %")).collect(),
        },
        y: "µs".to_owned(),
        series: series.collect(),
    }
}

fn table(graph: &Graph, kept: &[Measurement]) -> String {
    let peers = peers_of(graph, kept);
    let mut text =
        format!("| {} | {} |\n|---|{}\n", graph.title, peers.join(" | "), "---|".repeat(peers.len()));
    let figures: Vec<Figure> = match graph.kind {
        Kind::Lines(figures) => figures.iter().map(|(figure, ..)| *figure).collect(),
        Kind::Load => [Figure::CallsPerSecond].into_iter().chain(LATENCIES).collect(),
    };
    for figure in figures {
        for x in graph.xs {
            let cells = peers.iter().map(|peer| {
                median(kept, peer, &graph.point(*x), figure)
                    .map_or("–".to_owned(), |value| figure.shown(value))
            });
            text += &format!("| {x}, {} | {} |\n", figure.unit(), cells.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

/// Where the measurements are kept.
const JSON: &str = "graphs.json";
const QUICK_SECONDS: f64 = 0.3;
const LATENCIES: [Figure; 3] = [Figure::P50Micros, Figure::P99Micros, Figure::P999Micros];
