//! The LDAP server that the real Kerberos login asks for groups: one that lets anybody bind and
//! knows of nobody, as RFC 4511 has it for the few operations that are needed.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where it listens.
pub const ADDRESS: &str = "127.83.0.5:1389";

/// The server; its port is closed when this is dropped.
#[derive(Debug, Default)]
pub struct Ldap {
    serving: Option<JoinHandle<()>>,
    hangs: watch::Sender<bool>,
}

impl Ldap {
    /// Opens the port, if it is closed.
    pub async fn open(&mut self) -> anyhow::Result<()> {
        if self.serving.is_some() {
            return Ok(());
        }
        let address: SocketAddr = ADDRESS.parse().context("an address")?;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {ADDRESS}"))?;
        let hangs = self.hangs.subscribe();
        self.serving = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, hangs.clone()));
            }
        }));
        Ok(())
    }

    /// From now on nobody gets an answer, or again.
    pub fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// Closes the port.
    pub async fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

impl Drop for Ldap {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn serve(mut client: TcpStream, mut hangs: watch::Receiver<bool>) -> anyhow::Result<()> {
    loop {
        // LDAPMessage: a sequence of a number and an operation.
        let (tag, message) = element(&mut client).await?;
        ensure!(tag == 0x30, "no message");
        let rest = &mut message.as_slice();
        let (_, number) = element(rest).await?;
        let (operation, _) = element(rest).await?;
        let answer = match operation {
            // Bind and search; nothing is ever found.
            0x60 => 0x61,
            0x63 => 0x65,
            // Unbind, and what is not known.
            _ => return Ok(()),
        };
        // Success, no matched name, no words.
        let done = [answer, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        let mut reply = vec![0x02, u8::try_from(number.len())?];
        reply.extend(number);
        reply.extend(done);
        let head = [0x30, u8::try_from(reply.len())?];
        hangs.wait_for(|hangs| !hangs).await?;
        client.write_all(&[&head[..], &reply].concat()).await?;
    }
}

/// One element of BER: its tag and its content.
async fn element(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> anyhow::Result<(u8, Vec<u8>)> {
    let tag = from.read_u8().await?;
    let length = match from.read_u8().await? {
        short @ ..=0x7f => u64::from(short),
        0x81 => u64::from(from.read_u8().await?),
        0x82 => u64::from(from.read_u16().await?),
        _ => anyhow::bail!("a message of more than 64 KiB"),
    };
    let mut content = Vec::new();
    from.take(length).read_to_end(&mut content).await?;
    Ok((tag, content))
}
