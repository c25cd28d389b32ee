//! The parts of a benchmark, measured one after the other.
//!
//! What holds: how busy the machine was before each part is in the report.

use clap::ValueEnum;

use super::figures::Figure;
use super::machine;
use super::progress::Progress;
use super::report::Report;

/// Measures the wanted parts in their order; all of them when none is named.
pub async fn measure<P: ValueEnum + Copy + PartialEq + 'static>(
    wanted: &[P],
    progress: &Progress,
    report: &mut Report,
    part_figures: impl AsyncFn(P) -> anyhow::Result<Vec<Figure>>,
) -> anyhow::Result<()> {
    let is_wanted = |part: &&P| wanted.is_empty() || wanted.contains(part);
    for part in P::value_variants().iter().filter(is_wanted) {
        let name = name(part);
        let before = machine::load()?;
        progress.say(format!("{name}: starts Vault, issuer and KDC"));
        report.load_before.push((name, before));
        report.figures.extend(part_figures(*part).await?);
    }
    Ok(())
}

/// What is typed for a part.
pub fn name(part: &impl ValueEnum) -> String {
    let value = part.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
