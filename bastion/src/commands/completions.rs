//! `completions`: what a shell needs to complete this program's arguments.

use std::io;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell as Generator;

use super::{Done, print};
use crate::cli::Cli;

/// Shells that can be helped.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// For example in `/etc/bash_completion.d`.
    Bash,
    /// For example in `/usr/share/zsh/site-functions`.
    Zsh,
    /// For example in `/etc/fish/completions`.
    Fish,
}

/// Prints the script.
pub(crate) fn completions(shell: Shell) -> Done {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut text = io::Cursor::new(Vec::new());
    clap_complete::generate(generator, &mut Cli::command(), "token-bastion", &mut text);
    let text = String::from_utf8_lossy(text.get_ref());
    // The generator spells the hyphen of our name in two ways, and bash completes no command then.
    print(&text.replace("token__subcmd__bastion", "token__bastion"));
    Done::Good
}
