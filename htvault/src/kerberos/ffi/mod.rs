//! The foreign functions of MIT Kerberos: the only `unsafe` code of the workspace.
//!
//! This file declares the C functions and structures (of `krb5.h`, `gssapi/gssapi.h` and
//! `gssapi/gssapi_ext.h`, MIT 1.18 and later); [`krb5`] and [`gss`] wrap them so that every object
//! is freed once, by the context that made it, and no pointer leaves this module.
//!
//! The libraries are loaded at run time, once, when they are first needed: a program that never logs
//! in by Kerberos needs neither. They are never unloaded.
#![allow(unsafe_code, reason = "the one FFI module")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

use krb5::Failure;

pub(super) mod gss;
pub(super) mod krb5;

/// Declares C structures that are only ever handled by pointer.
macro_rules! opaque {
    ($($name:ident),*) => {
        $(
            #[repr(C)]
            pub(super) struct $name {
                _opaque: [u8; 0],
            }
        )*
    };
}

opaque!(
    Krb5ContextData,
    Krb5PrincipalData,
    Krb5KeytabData,
    Krb5CcacheData,
    Krb5OptData,
    Krb5InitCredsData,
    GssNameData,
    GssCredData,
    GssContextData
);

type Krb5Context = *mut Krb5ContextData;
type Krb5Principal = *mut Krb5PrincipalData;
type Krb5Keytab = *mut Krb5KeytabData;
type Krb5Ccache = *mut Krb5CcacheData;
type Krb5InitCreds = *mut Krb5InitCredsData;
type GssName = *mut GssNameData;
type GssCred = *mut GssCredData;
type GssContext = *mut GssContextData;

/// `krb5_ticket_times`: seconds since 1970, to be read as unsigned 32 bit.
#[repr(C)]
#[derive(Default)]
struct Krb5TicketTimes {
    authtime: i32,
    starttime: i32,
    endtime: i32,
    renew_till: i32,
}

/// `krb5_data`.
#[repr(C)]
struct Krb5Data {
    magic: i32,
    length: u32,
    data: *const c_char,
}

/// `krb5_error`: an error message of a KDC.
#[repr(C)]
pub(super) struct Krb5Error {
    magic: i32,
    times: [i32; 4],
    error: u32,
    client: Krb5Principal,
    server: Krb5Principal,
    text: Krb5Data,
    e_data: Krb5Data,
}

/// `gss_buffer_desc`.
#[repr(C)]
struct GssBuffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc`.
#[repr(C)]
struct GssOid {
    length: u32,
    elements: *const c_void,
}

/// `gss_OID_set_desc`.
#[repr(C)]
struct GssOidSet {
    count: usize,
    elements: *const GssOid,
}

/// `gss_key_value_element_desc`.
#[repr(C)]
struct GssKeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
struct GssKeyValueSet {
    count: u32,
    elements: *const GssKeyValue,
}

/// The loader's own words, which it has as the source of its error.
fn words(fault: &libloading::Error) -> String {
    let source = std::error::Error::source(fault);
    source.map_or_else(|| fault.to_string(), ToString::to_string)
}

/// Declares the functions of a library, and the loading of them all.
macro_rules! library {
    (
        $(#[$doc:meta])* $name:ident, $soname:literal:
        $( $(#[$attribute:meta])* fn $function:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?; )*
    ) => {
        $(#[$doc])*
        #[allow(clippy::struct_field_names, reason = "the functions' own names")]
        pub(super) struct $name {
            $( $(#[$attribute])* $function: unsafe extern "C" fn($($argument: $type),*) $(-> $result)?, )*
        }

        impl $name {
            /// The library, loaded at the first call.
            ///
            /// # Errors
            /// It is not installed, or lacks a function. The next call tries again.
            pub(in crate::kerberos) fn get() -> Result<&'static Self, Failure> {
                static LOADED: OnceLock<$name> = OnceLock::new();
                match LOADED.get() {
                    Some(loaded) => Ok(loaded),
                    None => {
                        let loaded = Self::load().map_err(|fault| Failure {
                            code: Failure::NO_LIBRARY,
                            message: format!("{} cannot be loaded ({})", $soname, words(&fault)),
                        })?;
                        Ok(LOADED.get_or_init(|| loaded))
                    }
                }
            }

            fn load() -> Result<Self, libloading::Error> {
                // SAFETY: the initializers of MIT's libraries may run on any thread at any time; the
                // linker would run the same ones at the start of the process.
                let library = unsafe { Library::new($soname) }?;
                let functions = Self {
                    $(
                        $(#[$attribute])*
                        // SAFETY: the symbol is a function of the declared signature, by the headers
                        // named above, which the soname's ABI keeps.
                        $function: *unsafe {
                            library.get(concat!(stringify!($function), "\0").as_bytes())
                        }?,
                    )*
                };
                // The pointers must stay valid for as long as the process lives.
                std::mem::forget(library);
                Ok(functions)
            }
        }
    };
}

library! {
    /// Functions of libkrb5.
    Krb5, "libkrb5.so.3":
    fn krb5_init_context(context: *mut Krb5Context) -> i32;
    fn krb5_free_context(context: Krb5Context);
    fn krb5_get_error_message(context: Krb5Context, code: i32) -> *const c_char;
    fn krb5_free_error_message(context: Krb5Context, message: *const c_char);
    fn krb5_parse_name(context: Krb5Context, name: *const c_char, out: *mut Krb5Principal) -> i32;
    fn krb5_free_principal(context: Krb5Context, principal: Krb5Principal);
    fn krb5_kt_resolve(context: Krb5Context, name: *const c_char, out: *mut Krb5Keytab) -> i32;
    fn krb5_kt_close(context: Krb5Context, keytab: Krb5Keytab) -> i32;
    fn krb5_cc_resolve(context: Krb5Context, name: *const c_char, out: *mut Krb5Ccache) -> i32;
    fn krb5_cc_close(context: Krb5Context, cache: Krb5Ccache) -> i32;
    fn krb5_cc_destroy(context: Krb5Context, cache: Krb5Ccache) -> i32;
    fn krb5_get_init_creds_opt_alloc(context: Krb5Context, out: *mut *mut Krb5OptData) -> i32;
    fn krb5_get_init_creds_opt_free(context: Krb5Context, options: *mut Krb5OptData);
    fn krb5_get_init_creds_opt_set_out_ccache(
        context: Krb5Context,
        options: *mut Krb5OptData,
        cache: Krb5Ccache,
    ) -> i32;
    fn krb5_init_creds_init(
        context: Krb5Context,
        client: Krb5Principal,
        prompter: *const c_void,
        prompter_data: *mut c_void,
        start_time: i32,
        options: *mut Krb5OptData,
        out: *mut Krb5InitCreds,
    ) -> i32;
    fn krb5_init_creds_set_keytab(
        context: Krb5Context,
        creds: Krb5InitCreds,
        keytab: Krb5Keytab,
    ) -> i32;
    fn krb5_init_creds_get(context: Krb5Context, creds: Krb5InitCreds) -> i32;
    fn krb5_init_creds_get_times(
        context: Krb5Context,
        creds: Krb5InitCreds,
        times: *mut Krb5TicketTimes,
    ) -> i32;
    fn krb5_init_creds_get_error(
        context: Krb5Context,
        creds: Krb5InitCreds,
        out: *mut *mut Krb5Error,
    ) -> i32;
    fn krb5_free_error(context: Krb5Context, error: *mut Krb5Error);
    fn krb5_init_creds_free(context: Krb5Context, creds: Krb5InitCreds);
}

library! {
    /// Functions of MIT's GSS-API.
    Gss, "libgssapi_krb5.so.2":
    fn gss_import_name(
        minor: *mut u32,
        name: *const GssBuffer,
        kind: *const GssOid,
        out: *mut GssName,
    ) -> u32;
    fn gss_release_name(minor: *mut u32, name: *mut GssName) -> u32;
    fn gss_acquire_cred_from(
        minor: *mut u32,
        name: GssName,
        seconds: u32,
        mechanisms: *const GssOidSet,
        usage: c_int,
        store: *const GssKeyValueSet,
        out: *mut GssCred,
        actual_mechanisms: *mut *mut GssOidSet,
        seconds_left: *mut u32,
    ) -> u32;
    fn gss_release_cred(minor: *mut u32, cred: *mut GssCred) -> u32;
    fn gss_init_sec_context(
        minor: *mut u32,
        cred: GssCred,
        context: *mut GssContext,
        target: GssName,
        mechanism: *const GssOid,
        flags: u32,
        seconds: u32,
        channel_bindings: *const c_void,
        input: *const GssBuffer,
        actual_mechanism: *mut *const GssOid,
        output: *mut GssBuffer,
        actual_flags: *mut u32,
        seconds_left: *mut u32,
    ) -> u32;
    fn gss_delete_sec_context(
        minor: *mut u32,
        context: *mut GssContext,
        output: *mut GssBuffer,
    ) -> u32;
    fn gss_release_buffer(minor: *mut u32, buffer: *mut GssBuffer) -> u32;
    fn gss_display_status(
        minor: *mut u32,
        status: u32,
        kind: c_int,
        mechanism: *const GssOid,
        message_context: *mut u32,
        out: *mut GssBuffer,
    ) -> u32;
    #[cfg(feature = "kerberos-acceptor")]
    fn gss_accept_sec_context(
        minor: *mut u32,
        context: *mut GssContext,
        cred: GssCred,
        input: *const GssBuffer,
        channel_bindings: *const c_void,
        source: *mut GssName,
        mechanism: *mut *const GssOid,
        output: *mut GssBuffer,
        flags: *mut u32,
        seconds_left: *mut u32,
        delegated: *mut GssCred,
    ) -> u32;
    #[cfg(feature = "kerberos-acceptor")]
    fn gss_display_name(
        minor: *mut u32,
        name: GssName,
        out: *mut GssBuffer,
        kind: *mut *const GssOid,
    ) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    library! {
        /// A library that no host has.
        Nothing, "libhtvault-nothing.so.9":
        fn nothing();
    }

    library! {
        /// A library that lacks a function.
        Lacking, "libc.so.6":
        fn htvault_nothing();
    }

    #[test]
    fn a_library_or_function_that_is_missing_is_named() {
        for (fault, word) in [
            (
                Nothing::get().map(|lib| lib.nothing).err(),
                "libhtvault-nothing.so.9",
            ),
            (
                Lacking::get().map(|lib| lib.htvault_nothing).err(),
                "htvault_nothing",
            ),
        ] {
            let fault = fault.unwrap();
            assert_eq!(fault.code, Failure::NO_LIBRARY);
            assert!(fault.message.contains(word), "{}", fault.message);
        }
    }
}
