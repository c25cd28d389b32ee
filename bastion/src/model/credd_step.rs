//! Steps of an exchange with a credd: where a failure came, and what was right before it. Their order is that of the exchange.

/// Steps of an exchange with a credd, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CreddStep {
    /// The collector is asked for its address.
    Address,
    /// Connection, and the hand-over by the shared port.
    Connection,
    /// Both sides agree on security.
    Negotiation,
    /// TLS handshake.
    Tls,
    /// The access token is shown.
    Token,
    /// The credd decides whether its bearer may store.
    Authorization,
    /// The command itself.
    Command,
}

impl CreddStep {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Connection,
        Self::Negotiation,
        Self::Tls,
        Self::Token,
        Self::Authorization,
        Self::Command,
    ];

    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Connection => "connection",
            Self::Negotiation => "negotiation",
            Self::Tls => "TLS",
            Self::Token => "token",
            Self::Authorization => "authorization",
            Self::Command => "command",
        }
    }
}
