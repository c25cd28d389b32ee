//! What a row of the table is made of.

use crate::conformance::cases::State;

/// What became of a credential, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new access token is in place.
    Served,
    /// The access token that was there before is still in place.
    Kept,
    /// No access token is in place; what was stored is left alone.
    NotServed,
    /// What was stored is gone, and the access token with it.
    Deleted,
}

/// What the two sides make of a situation.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The same, to the last line.
    Same(Outcome),
    /// Not the same, on purpose.
    Differs(Differs),
}

/// A difference on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Differs {
    /// What HTCondor's makes of it.
    pub theirs: Outcome,
    /// What ours makes of it.
    pub ours: Outcome,
    /// The lines of the observation that only HTCondor's has.
    pub only_theirs: &'static [&'static str],
    /// The lines that only ours has.
    pub only_ours: &'static [&'static str],
    /// Why ours is another.
    pub why: &'static str,
}

/// What is put at a path.
#[derive(Clone, Copy, Debug)]
pub enum Put {
    /// A file with this text, mode 0600, root:condor. `$TOKEN` stands for a living vault token of
    /// this case, `$DEAD` for a revoked one, `$SIDE` for a word that differs from side to side.
    Text(&'static str),
    /// The same with another mode and owner (names as in the pool's root).
    Owned(&'static str, u32, &'static str),
    /// An access token, mode 0400, that ends so many seconds from now.
    AccessToken(i64),
    /// So many blanks, then a good `.top`.
    Blanks(usize),
    /// A symbolic link.
    Link(&'static str),
    /// A named pipe, mode 0600, root:condor.
    Pipe,
    /// A file that fills the disk to its last byte; for a [`Group::on_small_disk`].
    Filler,
    /// A folder, or another mode and owner for one that is there.
    Folder(u32, &'static str),
    /// Nothing: what is there is taken away.
    Nothing,
}

/// A situation of one account's folder.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The account, which names the row too.
    pub name: &'static str,
    /// The situation in words.
    pub words: &'static str,
    /// What is there when the monitor starts, by path below the account's folder.
    pub files: &'static [(&'static str, Put)],
    /// What is changed while it runs, in groups with a [`Group::change`].
    pub then: &'static [(&'static str, Put)],
    /// What is expected.
    pub expected: Expected,
}

/// What tells the monitors of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// SIGHUP, as the credd sends it.
    Hangup,
    /// Nothing: the credd sends no signal when there is an access token.
    Untold,
}

/// Which of HTCondor's programs is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `condor_credmon_vault`.
    Vault,
    /// `condor_credmon_oauth`, which holds the same monitor for Vault beside others; it alone reads
    /// `VAULT_CREDMON_PROVIDER_NAMES`.
    Several,
}

/// Cases that one process of each side serves together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Names its directory.
    pub name: &'static str,
    /// Heading on the page.
    pub title: &'static str,
    /// Settings besides the usual ones.
    pub settings: &'static [(&'static str, &'static str)],
    /// The other side.
    pub reference: Reference,
    /// Faults at the server, as `htvault-dev --fault` takes them.
    pub faults: &'static [&'static str],
    /// What else the server is in, after it has got an access token for `cms`.
    pub state: Option<State>,
    /// Whether the directory is on a small disk of its own.
    pub small_disk: bool,
    /// Whether HTCondor's never comes to the end of a pass: it waits for a writer of a named pipe.
    pub theirs_stuck: bool,
    /// Whether, after a first pass, files are changed; only what follows is looked at then.
    pub change: Option<Change>,
    /// Whether what is there at the start is some seconds old.
    pub aged: bool,
    /// How many passes are made; the number of requests is part of the observation when more than
    /// one.
    pub passes: usize,
    /// The cases.
    pub cases: &'static [Case],
}

impl Group {
    /// A group with the usual settings and one pass.
    #[must_use]
    pub const fn new(name: &'static str, title: &'static str, cases: &'static [Case]) -> Self {
        Self {
            name,
            title,
            settings: &[],
            reference: Reference::Vault,
            faults: &[],
            state: None,
            small_disk: false,
            theirs_stuck: false,
            change: None,
            aged: false,
            passes: 1,
            cases,
        }
    }

    /// With these settings.
    #[must_use]
    pub const fn with(mut self, settings: &'static [(&'static str, &'static str)]) -> Self {
        self.settings = settings;
        self
    }

    /// Against another of HTCondor's programs.
    #[must_use]
    pub const fn against(mut self, reference: Reference) -> Self {
        self.reference = reference;
        self
    }

    /// While the server has these faults.
    #[must_use]
    pub const fn under(mut self, faults: &'static [&'static str]) -> Self {
        self.faults = faults;
        self
    }

    /// While the server is in this state.
    #[must_use]
    pub const fn amid(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// With the directory on a small disk.
    #[must_use]
    pub const fn on_small_disk(mut self) -> Self {
        self.small_disk = true;
        self
    }

    /// HTCondor's never comes to the end of a pass.
    #[must_use]
    pub const fn theirs_stuck(mut self) -> Self {
        self.theirs_stuck = true;
        self
    }

    /// With a change after the first pass.
    #[must_use]
    pub const fn changed(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    /// With files that are some seconds old at the start.
    #[must_use]
    pub const fn aged(mut self) -> Self {
        self.aged = true;
        self
    }

    /// With so many passes.
    #[must_use]
    pub const fn passing(mut self, passes: usize) -> Self {
        self.passes = passes;
        self
    }
}

impl Case {
    /// A case; what is expected follows.
    #[must_use]
    pub const fn new(
        name: &'static str,
        words: &'static str,
        files: &'static [(&'static str, Put)],
    ) -> Self {
        Self {
            name,
            words,
            files,
            then: &[],
            expected: Expected::Same(Outcome::Served),
        }
    }

    /// What is changed while the monitor runs.
    #[must_use]
    pub const fn then(mut self, then: &'static [(&'static str, Put)]) -> Self {
        self.then = then;
        self
    }

    /// Both sides do the same.
    #[must_use]
    pub const fn same(mut self, outcome: Outcome) -> Self {
        self.expected = Expected::Same(outcome);
        self
    }

    /// The sides differ.
    #[must_use]
    pub const fn differs(mut self, differs: Differs) -> Self {
        self.expected = Expected::Differs(differs);
        self
    }
}

impl Outcome {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Kept => "token kept",
            Self::NotServed => "not served",
            Self::Deleted => "deleted",
        }
    }
}
