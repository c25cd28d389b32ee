//! `completions`: scripts for shells that complete this program's arguments.

use clap::{Command, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use super::{CommandError, Done, print};
use crate::cli::arguments::Cli;

const NAME: &str = "token-bastion";

/// Prints the script.
pub(crate) fn completions(shell: Shell) -> Result<Done, CommandError> {
    print(&script(shell))?;
    Ok(Done::Good)
}

fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    let text = String::from_utf8_lossy(&text);
    match shell {
        // The generator spells the hyphen of our name in two ways, and bash completes no command then.
        Shell::Bash => text.replace("token__subcmd__bastion", "token__bastion"),
        Shell::Fish => fish(&text),
        _ => text.into_owned(),
    }
}

/// Completes the generator's script for fish: commands after `help` (the generator counts `help` itself as one), and
/// values of arguments without a name. Without them fish offers files.
fn fish(text: &str) -> String {
    let shells = Shell::value_variants().iter();
    let shells = shells.filter_map(|shell| Some(shell.to_possible_value()?.get_name().to_owned()));
    let shells: Vec<String> = shells.collect();
    let command = Cli::command();
    let commands: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    format!(
        "{}complete -c {NAME} -n \"__fish_token_bastion_using_subcommand {}\" -f\n\
         complete -c {NAME} -n \"__fish_token_bastion_using_subcommand completions\" -f -a \"{}\"\n",
        text.replace(" completions help\" ", " completions\" "),
        commands.join(" "),
        shells.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell:?} {name}");
            }
            assert!(!script.contains("__subcmd__bastion"), "{shell:?}");
        }
    }

    #[test]
    fn fish_completes_what_its_generator_leaves_out() {
        let script = script(Shell::Fish);
        assert!(
            script.contains("-a \"bash elvish fish powershell zsh\""),
            "{script}"
        );
        let after_help = "using_subcommand help; and not __fish_seen_subcommand_from run ";
        let lines = script.lines().filter(|line| line.contains(after_help));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), Cli::command().get_subcommands().count() + 1);
        assert!(
            lines.iter().all(|line| !line.contains(" help\" -f")),
            "{lines:?}"
        );
    }
}
