//! GSS-API: the first (and only) token of a Negotiate login, and the accepting side for a server.
//!
//! Only MIT's Kerberos mechanism is used, and each credential names its own cache or keytab: a
//! SPNEGO context over such a credential was seen to fall back silently to the process's default
//! cache, which may hold somebody else's ticket.
//!
//! A failure is put into words at once, on the thread that saw it: elsewhere its details are lost.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::{
    Gss, GssBuffer, GssContext, GssCred, GssKeyValue, GssKeyValueSet, GssName, GssOid, GssOidSet,
    krb5::Failure,
};

/// 1.2.840.113554.1.2.2: the Kerberos mechanism.
const KRB5_MECHANISM: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// 1.2.840.113554.1.2.2.1: a name is a principal.
const PRINCIPAL_NAME: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";
/// 1.2.840.113554.1.2.1.4: a name is `service@host`.
const HOST_BASED_SERVICE: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04";

const INITIATE: c_int = 1;
const INDEFINITE: u32 = u32::MAX;
/// Calling and routine errors; the lower bits are information.
const ERROR_BITS: u32 = 0xffff_0000;
/// `GSS_S_CONTINUE_NEEDED`.
const CONTINUE_NEEDED: u32 = 1;
const DISPLAY_MAJOR: c_int = 1;
const DISPLAY_MINOR: c_int = 2;

impl GssOid {
    fn of(bytes: &'static [u8]) -> Self {
        Self {
            // The three constants above are a few bytes long.
            length: u32::try_from(bytes.len()).unwrap_or(0),
            elements: bytes.as_ptr().cast(),
        }
    }
}

impl GssBuffer {
    fn empty() -> Self {
        Self {
            length: 0,
            value: ptr::null_mut(),
        }
    }

    /// Borrows bytes for a call that only reads them.
    fn borrow(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len(),
            value: bytes.as_ptr().cast_mut().cast(),
        }
    }
}

/// A buffer that the library filled and must free.
struct Filled {
    lib: &'static Gss,
    raw: GssBuffer,
}

impl Filled {
    fn new(lib: &'static Gss) -> Self {
        let raw = GssBuffer::empty();
        Self { lib, raw }
    }

    fn bytes(&self) -> &[u8] {
        if self.raw.value.is_null() {
            return &[];
        }
        // SAFETY: the library filled `length` bytes at `value`; they live until the drop below.
        unsafe { std::slice::from_raw_parts(self.raw.value.cast(), self.raw.length) }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: filled by the library (or empty, which is allowed), released here only.
        unsafe { (self.lib.gss_release_buffer)(&raw mut minor, &raw mut self.raw) };
    }
}

/// Declares an owner of a GSS object.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $pointer:ty, $free:ident $(, $more:expr)?) => {
        $(#[$doc])*
        struct $name {
            lib: &'static Gss,
            raw: $pointer,
        }

        impl Drop for $name {
            fn drop(&mut self) {
                let mut minor = 0;
                // SAFETY: made by the library (or null, which is allowed), released here only.
                unsafe { (self.lib.$free)(&raw mut minor, &raw mut self.raw $(, $more)?) };
            }
        }
    };
}

owned!(
    /// An imported name.
    Name, GssName, gss_release_name
);
owned!(
    /// An acquired credential.
    Cred, GssCred, gss_release_cred
);
owned!(
    /// A security context.
    SecContext, GssContext, gss_delete_sec_context, ptr::null_mut()
);

/// Turns a status into a result. The minor code is libkrb5's own, so that one table explains both.
fn check(lib: &'static Gss, major: u32, minor: u32) -> Result<(), Failure> {
    if major & ERROR_BITS == 0 {
        return Ok(());
    }
    let mut words = display(lib, minor, DISPLAY_MINOR);
    if words.is_empty() {
        words = display(lib, major, DISPLAY_MAJOR);
    }
    Err(Failure {
        code: minor.cast_signed(),
        message: words,
    })
}

fn display(lib: &'static Gss, status: u32, kind: c_int) -> String {
    let mechanism = GssOid::of(KRB5_MECHANISM);
    let mut words = Vec::new();
    let mut message_context = 0;
    loop {
        let mut minor = 0;
        let mut buffer = Filled::new(lib);
        // SAFETY: all pointers are valid for the call; the buffer is owned.
        let major = unsafe {
            (lib.gss_display_status)(
                &raw mut minor,
                status,
                kind,
                &raw const mechanism,
                &raw mut message_context,
                &raw mut buffer.raw,
            )
        };
        if major & ERROR_BITS != 0 {
            break;
        }
        words.push(String::from_utf8_lossy(buffer.bytes()).into_owned());
        if message_context == 0 {
            break;
        }
    }
    words.join(": ")
}

fn import(lib: &'static Gss, name: &str, kind: &'static [u8]) -> Result<Name, Failure> {
    let (mut minor, mut raw) = (0, ptr::null_mut());
    let (buffer, kind) = (GssBuffer::borrow(name.as_bytes()), GssOid::of(kind));
    // SAFETY: buffer and OID are borrowed for the call, which copies them.
    let major = unsafe {
        (lib.gss_import_name)(
            &raw mut minor,
            &raw const buffer,
            &raw const kind,
            &raw mut raw,
        )
    };
    let name = Name { lib, raw };
    check(lib, major, minor)?;
    Ok(name)
}

fn acquire(
    lib: &'static Gss,
    name: GssName,
    mechanisms: *const GssOidSet,
    usage: c_int,
    store: (&CStr, &CStr),
) -> Result<Cred, Failure> {
    let element = GssKeyValue {
        key: store.0.as_ptr(),
        value: store.1.as_ptr(),
    };
    let store = GssKeyValueSet {
        count: 1,
        elements: &raw const element,
    };
    let (mut minor, mut raw) = (0, ptr::null_mut());
    // SAFETY: name, set and store are borrowed for the call; the credential is owned at once.
    let major = unsafe {
        (lib.gss_acquire_cred_from)(
            &raw mut minor,
            name,
            INDEFINITE,
            mechanisms,
            usage,
            &raw const store,
            &raw mut raw,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    let cred = Cred { lib, raw };
    check(lib, major, minor)?;
    Ok(cred)
}

/// The first token for `service@host` from the ticket of `principal` in `cache`. Without mutual
/// authentication, one token is all.
///
/// Blocks on the network, unless the service's ticket is in the cache already.
pub(in crate::kerberos) fn initial_token(
    principal: &str,
    cache: &CStr,
    service: &str,
    host: &str,
) -> Result<Vec<u8>, Failure> {
    let lib = Gss::get()?;
    let principal = import(lib, principal, PRINCIPAL_NAME)?;
    let target = import(lib, &format!("{service}@{host}"), HOST_BASED_SERVICE)?;
    let mechanism = GssOid::of(KRB5_MECHANISM);
    let mechanisms = GssOidSet {
        count: 1,
        elements: &raw const mechanism,
    };
    let cred = acquire(
        lib,
        principal.raw,
        &raw const mechanisms,
        INITIATE,
        (c"ccache", cache),
    )?;

    let mut minor = 0;
    let mut context = SecContext {
        lib,
        raw: ptr::null_mut(),
    };
    let mut token = Filled::new(lib);
    // SAFETY: every object is alive through the call; context and token are owned.
    let major = unsafe {
        (lib.gss_init_sec_context)(
            &raw mut minor,
            cred.raw,
            &raw mut context.raw,
            target.raw,
            &raw const mechanism,
            0,
            0,
            ptr::null(),
            ptr::null(),
            ptr::null_mut(),
            &raw mut token.raw,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    check(lib, major, minor)?;
    if major & CONTINUE_NEEDED != 0 {
        return Err(Failure {
            code: 0,
            message: "the Kerberos library wants a second round, which a login has not".to_owned(),
        });
    }
    Ok(token.bytes().to_vec())
}

/// Accepts a client's first token with the keys of `keytab`; returns the client's principal.
#[cfg(feature = "kerberos-acceptor")]
pub(in crate::kerberos) fn accept(keytab: &CStr, token: &[u8]) -> Result<String, Failure> {
    const ACCEPT: c_int = 2;

    let lib = Gss::get()?;
    // No mechanism named: the library's own set, which takes SPNEGO and bare Kerberos tokens.
    let cred = acquire(
        lib,
        ptr::null_mut(),
        ptr::null(),
        ACCEPT,
        (c"keytab", keytab),
    )?;
    let mut minor = 0;
    let mut context = SecContext {
        lib,
        raw: ptr::null_mut(),
    };
    let mut source = Name {
        lib,
        raw: ptr::null_mut(),
    };
    let mut answer = Filled::new(lib);
    let input = GssBuffer::borrow(token);
    // SAFETY: every object is alive through the call; what it makes is owned.
    let major = unsafe {
        (lib.gss_accept_sec_context)(
            &raw mut minor,
            &raw mut context.raw,
            cred.raw,
            &raw const input,
            ptr::null(),
            &raw mut source.raw,
            ptr::null_mut(),
            &raw mut answer.raw,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    check(lib, major, minor)?;
    if major & CONTINUE_NEEDED != 0 {
        return Err(Failure {
            code: 0,
            message: "the client's token is not complete in one step".to_owned(),
        });
    }
    let mut name = Filled::new(lib);
    // SAFETY: the name is alive; the buffer is owned.
    let major = unsafe {
        (lib.gss_display_name)(
            &raw mut minor,
            source.raw,
            &raw mut name.raw,
            ptr::null_mut(),
        )
    };
    check(lib, major, minor)?;
    Ok(String::from_utf8_lossy(name.bytes()).into_owned())
}
