//! Ends of the help texts: examples, and the exit codes.

/// Examples of a command, each without the program's name, and the exit codes.
macro_rules! examples {
    ($($example:literal),+ $(,)?) => {
        concat!(
            "Examples:\n",
            $("  token-bastion ", $example, "\n",)+
            "\nExit codes: 0 all good; 1 something is not good; 2 wrong usage or configuration"
        )
    };
}
pub(crate) use examples;

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::arguments::Cli;

    /// Help of a command at this width.
    fn help(command: &clap::Command, width: usize) -> String {
        let mut command = command.clone().term_width(width);
        command.render_long_help().to_string()
    }

    #[test]
    fn every_help_has_examples_that_are_right_and_the_exit_codes() {
        let mut program = Cli::command();
        program.build();
        let names: Vec<String> = program
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .filter(|name| name != "help")
            .collect();
        assert_eq!(names.len(), 14);
        let all = names.iter().map(String::as_str).chain([""]);
        for name in all {
            let command = match name {
                "" => &program,
                name => program.find_subcommand(name).unwrap(),
            };
            let text = help(command, 80);
            assert!(text.contains("\nExit codes: 0 all good; 1 "), "{text}");
            let (_, examples) = text.split_once("\nExamples:\n").unwrap();
            let examples = examples.lines().take_while(|line| !line.is_empty());
            for example in examples {
                let words = example.split_whitespace().take_while(|word| *word != ">");
                let words: Vec<&str> = words.collect();
                assert!(words.contains(&name) || name.is_empty(), "{example}");
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    #[test]
    fn no_line_of_a_help_is_wider_than_the_terminal() {
        let mut program = Cli::command();
        program.build();
        for command in program.get_subcommands() {
            let text = help(command, 80);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
