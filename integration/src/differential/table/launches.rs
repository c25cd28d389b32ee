//! Options, signals, the directory, the log.

use nix::sys::signal::Signal;

use crate::differential::case::Expected::Same;
use crate::differential::case::Outcome::{NotServed, Served};
use crate::differential::case::{Differs, Expected, Reference};
use crate::differential::launch_run::{Launch, Place};

/// All of them.
pub(super) const LAUNCHES: &[Launch] = &[
    Launch::new("sigterm", "no options; ended by SIGTERM").expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("sigquit", "ended by SIGQUIT, as a master does in a hurry")
        .ended_by(Signal::SIGQUIT)
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("sigint", "ended by SIGINT")
        .ended_by(Signal::SIGINT)
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("directory-missing", "the directory is missing")
        .at(Place::Missing)
        .expect(Expected::Differs(Differs { theirs: NotServed, ours: NotServed, only_theirs: &["directory has 0750 root:root","leaves pid when it ends",], only_ours: &["directory has 2770 root:root",], why: "Mode 2770 whatever the umask, as HTCondor wants it." })),
    Launch::new(
        "directory-open",
        "the directory has mode 2775; it is mended later",
    )
    .at(Place::Mode(0o2775))
    .expect(Expected::Differs(Differs { theirs: NotServed, ours: Served, only_theirs: &["ends by itself, exit code Some(1)","log lines begin so: ","says something on the terminal",], only_ours: &["CREDMON_COMPLETE has 0644 root:condor","SIGTERM: ends with exit code 0","leaves CREDMON_COMPLETE when it ends","log lines begin so: 00/00/00 00:00:00 ","pid has 0644 root:condor","pid names the process: true",], why: "It says what is wrong, waits, and serves when it is mended; theirs ends." })),
    Launch::new(
        "directory-searchable",
        "the directory has mode 2771; it is mended later",
    )
    .at(Place::Mode(0o2771))
    .expect(Expected::Differs(Differs { theirs: NotServed, ours: Served, only_theirs: &["ends by itself, exit code Some(1)","log lines begin so: ","says something on the terminal",], only_ours: &["CREDMON_COMPLETE has 0644 root:condor","SIGTERM: ends with exit code 0","leaves CREDMON_COMPLETE when it ends","log lines begin so: 00/00/00 00:00:00 ","pid has 0644 root:condor","pid names the process: true",], why: "It says what is wrong, waits, and serves when it is mended; theirs ends." })),
    Launch::new(
        "directory-file",
        "a file is in the place of the directory; it is mended later",
    )
    .at(Place::File)
    .expect(Expected::Differs(Differs { theirs: NotServed, ours: Served, only_theirs: &["ends by itself, exit code Some(1)","log lines begin so: ","says something on the terminal",], only_ours: &["CREDMON_COMPLETE has 0644 root:condor","SIGTERM: ends with exit code 0","leaves CREDMON_COMPLETE when it ends","log lines begin so: 00/00/00 00:00:00 ","pid has 0644 root:condor","pid names the process: true",], why: "It says what is wrong, waits, and serves when it is mended; theirs ends." })),
    Launch::new("directory-0700", "the directory has mode 0700")
        .at(Place::Mode(0o700))
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("old-name", "only `SEC_CREDENTIAL_DIRECTORY` is set")
        .with(&[
            ("SEC_CREDENTIAL_DIRECTORY_OAUTH", ""),
            ("SEC_CREDENTIAL_DIRECTORY", "$DIR"),
        ])
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("cred-dir", "`-c DIR`, while another is configured")
        .options(&["-c", "$DIR"])
        .with(&[("SEC_CREDENTIAL_DIRECTORY_OAUTH", "/nowhere")])
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("log-file", "`-l FILE`")
        .options(&["-l", "$LOG.own"])
        .logs_to("$LOG.own")
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("log-default", "no `CREDMON_OAUTH_LOG`, but `LOG`")
        .with(&[("LOG", "$DIR"), ("CREDMON_OAUTH_LOG", "")])
        .logs_to("$DIR/CredMonOAuthLog")
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends","log is not written",], only_ours: &["log is written, 0644","log lines begin so: 00/00/00 00:00:00 ",], why: "`CredMonOAuthLog` is what HTCondor's manual says; theirs makes the name `CredmonOauthLog` from the daemon's." })),
    Launch::new("log-unwritable", "the log cannot be written")
        .options(&["-l", "/nowhere/log"])
        .logs_to("/nowhere/log")
        .expect(Same(NotServed)),
    Launch::new("log-unwritable-v", "the log cannot be written, `-v`")
        .options(&["-v", "-l", "/nowhere/log"])
        .logs_to("/nowhere/log")
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("verbose", "`-v`")
        .options(&["-v"])
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &["says something on the terminal",], why: "`-v` logs on the terminal too; theirs does so only while the log file cannot be written." })),
    Launch::new("name", "`-n OTHER`, with `OTHER_LOG`")
        .options(&["-n", "OTHER"])
        .with(&[("OTHER_LOG", "$LOG.other")])
        .logs_to("$LOG.other")
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &[], why: "`pid` is removed at the end, so that the credd signals no other process that gets the number." })),
    Launch::new("long-options", "`--name --cred-dir --log-file --verbose`")
        .options(&[
            "--name",
            "CREDMON_OAUTH",
            "--cred-dir",
            "$DIR",
            "--log-file",
            "$LOG",
            "--verbose",
        ])
        .expect(Expected::Differs(Differs { theirs: Served, ours: Served, only_theirs: &["leaves pid when it ends",], only_ours: &["says something on the terminal",], why: "`-v` logs on the terminal too; theirs does so only while the log file cannot be written." })),
    Launch::new("debug", "`-d`")
        .options(&["-d"])
        .theirs_hangs("")
        .expect(Expected::Differs(Differs { theirs: NotServed, ours: Served, only_theirs: &["is stuck","log lines begin so: ",], only_ours: &["CREDMON_COMPLETE has 0644 root:condor","SIGTERM: ends with exit code 0","leaves CREDMON_COMPLETE when it ends","log lines begin so: 00/00/00 00:00:00 ","pid has 0644 root:condor","pid names the process: true",], why: "`-d` works; theirs defines a macro by itself and never starts." })),
    Launch::new("unknown-option", "`-x`")
        .options(&["-x"])
        .expect(Same(NotServed)),
    Launch::new("help", "`-h`")
        .options(&["-h"])
        .expect(Same(NotServed)),
    Launch::new(
        "list-underscore",
        "`VAULT_CREDMON_PROVIDER_NAMES = cms_crab cms`, against `condor_credmon_oauth`",
    )
    .with(&[("VAULT_CREDMON_PROVIDER_NAMES", "cms_crab cms")])
    .against(Reference::Several).theirs_hangs("disallowed characters")
    .expect(Expected::Differs(Differs {
            theirs: NotServed,
            ours: Served,
            only_theirs: &["is stuck"],
            only_ours: &[
                "CREDMON_COMPLETE has 0644 root:condor",
                "SIGTERM: ends with exit code 0",
                "leaves CREDMON_COMPLETE when it ends",
            ],
            why: "A name with an underscore in a list is served; theirs gives the work up, while its process stays.",
        })),
];
