//! libkrb5: a ticket-granting ticket from a keytab, into a credential cache in memory.
//!
//! Each ticket and each call has a context of its own: libkrb5's contexts are not for more than one
//! thread at a time. Objects are freed in the reverse order of their making, the context last.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{
    Krb5, Krb5Ccache, Krb5Context, Krb5Error, Krb5InitCreds, Krb5Keytab, Krb5OptData,
    Krb5Principal, Krb5TicketTimes,
};

/// Failure of a library: its code and its words.
#[derive(Debug)]
pub(in crate::kerberos) struct Failure {
    pub(in crate::kerberos) code: i32,
    pub(in crate::kerberos) message: String,
}

impl Failure {
    /// Code of a library that is not there. No library uses it.
    pub(in crate::kerberos) const NO_LIBRARY: i32 = i32::MIN;
    /// `KRB_ERR_GENERIC`: the library's words are "see e-text", and it does not show that.
    pub(in crate::kerberos) const GENERIC: i32 = -1_765_328_324;

    /// Names the KDC's own text where the library refers to it.
    fn of_kdc(mut self, text: &str) -> Self {
        if self.code == Self::GENERIC && !text.is_empty() {
            self.message = format!("the KDC says: {text}");
        }
        self
    }
}

/// A library context: for one thread at a time, for one task.
struct Context {
    lib: &'static Krb5,
    raw: Krb5Context,
}

// SAFETY: the library binds a context to no thread. It must not be used by two at a time: it is not `Sync`.
unsafe impl Send for Context {}

impl Context {
    fn new() -> Result<Self, Failure> {
        let lib = Krb5::get()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the out-pointer is valid for the call; on success the context is ours to free.
        let code = unsafe { (lib.krb5_init_context)(&raw mut raw) };
        if code == 0 {
            return Ok(Self { lib, raw });
        }
        // SAFETY: without a context the library formats the code alone (a null context is allowed).
        Err(unsafe { failure(lib, ptr::null_mut(), code) })
    }

    /// Turns a return code into a result, with the words that this very context has for it.
    fn check(&self, code: i32) -> Result<(), Failure> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the context is alive for as long as `self` is.
        Err(unsafe { failure(self.lib, self.raw, code) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by krb5_init_context, freed here only.
        unsafe { (self.lib.krb5_free_context)(self.raw) }
    }
}

/// Formats a code.
///
/// # Safety
/// `context` is null or a living context.
unsafe fn failure(lib: &Krb5, context: Krb5Context, code: i32) -> Failure {
    // SAFETY: as the caller promises; the message is a C string that is copied before it is freed.
    unsafe {
        let text = (lib.krb5_get_error_message)(context, code);
        let message = if text.is_null() {
            format!("Kerberos error {code}")
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        };
        (lib.krb5_free_error_message)(context, text);
        Failure { code, message }
    }
}

/// Declares an owner of a C object that is freed through the context that made it.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $pointer:ty, $free:ident) => {
        $(#[$doc])*
        struct $name<'c> {
            context: &'c Context,
            raw: $pointer,
        }

        impl Drop for $name<'_> {
            fn drop(&mut self) {
                // SAFETY: made by this context, freed here only, and the context outlives it.
                let _ = unsafe { (self.context.lib.$free)(self.context.raw, self.raw) };
            }
        }
    };
}

owned!(
    /// A parsed principal name.
    Principal, Krb5Principal, krb5_free_principal
);
owned!(
    /// An open keytab.
    Keytab, Krb5Keytab, krb5_kt_close
);
owned!(
    /// A handle of a credential cache; closing it keeps the cache.
    Ccache, Krb5Ccache, krb5_cc_close
);
owned!(
    /// Options of an initial request.
    Options, *mut Krb5OptData, krb5_get_init_creds_opt_free
);
owned!(
    /// An initial request.
    InitCreds, Krb5InitCreds, krb5_init_creds_free
);
owned!(
    /// An error message of a KDC.
    KdcError, *mut Krb5Error, krb5_free_error
);

impl InitCreds<'_> {
    /// Text of the KDC's last error message (`e-text`); empty where there is none.
    fn error_text(&self) -> String {
        let context = self.context;
        let mut raw = ptr::null_mut();
        // SAFETY: context and request are alive; what the call made is owned at once.
        let code =
            unsafe { (context.lib.krb5_init_creds_get_error)(context.raw, self.raw, &raw mut raw) };
        if code != 0 || raw.is_null() {
            return String::new();
        }
        let error = KdcError { context, raw };
        // SAFETY: the message is alive, and the library gave its text this length.
        let bytes = unsafe {
            let text = &(*error.raw).text;
            match usize::try_from(text.length) {
                Ok(length) if !text.data.is_null() => {
                    std::slice::from_raw_parts(text.data.cast::<u8>(), length)
                }
                _ => &[],
            }
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// A credential cache in memory that nobody else uses; destroyed on drop.
pub(in crate::kerberos) struct MemoryCache {
    name: CString,
    /// For the end alone, which then reads no file and cannot fail for want of one.
    context: Mutex<Context>,
}

impl MemoryCache {
    /// Chooses its name; what is in it comes by the name.
    pub(in crate::kerberos) fn unused() -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("MEMORY:htvault-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self {
            name: c_string(&name)?,
            context: Mutex::new(Context::new()?),
        })
    }

    pub(in crate::kerberos) fn name(&self) -> &CStr {
        &self.name
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Drop for MemoryCache {
    fn drop(&mut self) {
        let context = self.context.get_mut();
        let context = context.unwrap_or_else(PoisonError::into_inner);
        // Released caches stay in memory until they are destroyed (some 3 kB a login).
        let Ok(cache) = open_cache(context, &self.name) else {
            return;
        };
        let raw = cache.raw;
        // krb5_cc_destroy frees the handle too, so the owner must not close it again.
        std::mem::forget(cache);
        // SAFETY: the handle is alive and given up here.
        let _ = unsafe { (context.lib.krb5_cc_destroy)(context.raw, raw) };
    }
}

/// Gets a ticket-granting ticket for `principal` with its key from `keytab` into the cache named
/// `cache`; returns when the ticket ends, in seconds since 1970.
///
/// Blocks on the network.
pub(in crate::kerberos) fn ticket_from_keytab(
    principal: &CStr,
    keytab: &CStr,
    cache: &CStr,
) -> Result<i64, Failure> {
    let context = Context::new()?;
    let mut raw = ptr::null_mut();
    // SAFETY: (here and below) context and C strings live through the call; an object that the
    // call made is owned at once.
    context.check(unsafe {
        (context.lib.krb5_parse_name)(context.raw, principal.as_ptr(), &raw mut raw)
    })?;
    let client = Principal {
        context: &context,
        raw,
    };

    let mut raw = ptr::null_mut();
    // SAFETY: see above.
    context.check(unsafe {
        (context.lib.krb5_kt_resolve)(context.raw, keytab.as_ptr(), &raw mut raw)
    })?;
    let keytab = Keytab {
        context: &context,
        raw,
    };

    let cache = open_cache(&context, cache)?;

    let mut raw = ptr::null_mut();
    // SAFETY: see above.
    context
        .check(unsafe { (context.lib.krb5_get_init_creds_opt_alloc)(context.raw, &raw mut raw) })?;
    let options = Options {
        context: &context,
        raw,
    };
    // SAFETY: options and cache are alive, and the request below is freed before both.
    context.check(unsafe {
        (context.lib.krb5_get_init_creds_opt_set_out_ccache)(context.raw, options.raw, cache.raw)
    })?;

    let mut raw = ptr::null_mut();
    // SAFETY: see above; no prompter: nobody is there to be asked.
    context.check(unsafe {
        (context.lib.krb5_init_creds_init)(
            context.raw,
            client.raw,
            ptr::null(),
            ptr::null_mut(),
            0,
            options.raw,
            &raw mut raw,
        )
    })?;
    let request = InitCreds {
        context: &context,
        raw,
    };
    // SAFETY: see above; the keytab outlives the request.
    context.check(unsafe {
        (context.lib.krb5_init_creds_set_keytab)(context.raw, request.raw, keytab.raw)
    })?;
    // SAFETY: see above.
    let got = context.check(unsafe { (context.lib.krb5_init_creds_get)(context.raw, request.raw) });
    got.map_err(|failure| failure.of_kdc(&request.error_text()))?;
    let mut times = Krb5TicketTimes::default();
    // SAFETY: see above; `times` has the layout of krb5_ticket_times.
    context.check(unsafe {
        (context.lib.krb5_init_creds_get_times)(context.raw, request.raw, &raw mut times)
    })?;
    // The library's 32 bit times count as unsigned, up to the year 2106.
    Ok(i64::from(times.endtime.cast_unsigned()))
}

fn open_cache<'c>(context: &'c Context, name: &CStr) -> Result<Ccache<'c>, Failure> {
    let mut raw = ptr::null_mut();
    // SAFETY: context and name live through the call; the handle is owned at once.
    context.check(unsafe {
        (context.lib.krb5_cc_resolve)(context.raw, name.as_ptr(), &raw mut raw)
    })?;
    Ok(Ccache { context, raw })
}

/// A text as a C string, which holds no zero byte.
pub(in crate::kerberos) fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure {
        code: 0,
        message: format!("{text:?} holds a zero byte"),
    })
}
