//! The HDF5 library itself, which we share with everything else in the process that reads HDF5 (in R: rhdf5, hdf5r,
//! HDF5Array, Seurat). What we change of it is put back. The only unsafe code of this module's siblings is here.
// The old form of error handlers is deprecated, but may be what we find.
#![allow(unsafe_code, deprecated)]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Once;

use hdf5::{Datatype, Object};
use hdf5_sys::h5::H5dont_atexit;
use hdf5_sys::h5e::{
    H5E_auto1_t, H5E_auto2_t, H5Eauto_is_v2, H5Eget_auto1, H5Eget_auto2, H5Eset_auto1,
    H5Eset_auto2, H5E_DEFAULT,
};
use hdf5_sys::h5t::{H5T_class_t, H5Tget_class};
use hdf5_sys::LOCK;

static SET_UP: Once = Once::new();

/// Runs `work`, all that it does with HDF5 included, while no error handler of anybody else is in place: those of R
/// packages raise an R error, which would jump over our frames and leave files open.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    // The `hdf5` crate sets the library up on its first call, and takes the handler away for good. That must come
    // before we hold its lock, for which the setting up waits, perhaps on another thread.
    SET_UP.call_once(|| {
        let _theirs = ErrorHandler::put_aside();
        hdf5::library_version();
    });
    // Held throughout: each reading puts back what it found, so one must end before the next begins.
    let _lock = LOCK.lock();
    let _theirs = ErrorHandler::put_aside();
    work()
}

/// The version of the HDF5 library in use.
pub fn hdf5_version() -> String {
    let (major, minor, release) = undisturbed(hdf5::library_version);
    format!("{major}.{minor}.{release}")
}

/// What the library calls when something fails, in one of the two forms it knows. Put back when dropped.
enum ErrorHandler {
    Old(H5E_auto1_t, *mut c_void),
    Current(H5E_auto2_t, *mut c_void),
    /// It could not be asked for: nothing is changed then.
    Unknown,
}

impl ErrorHandler {
    /// Takes the handler away, so that errors are returned and nothing else.
    fn put_aside() -> Self {
        let _lock = LOCK.lock();
        let (mut is_current, mut data) = (0, null_mut());
        let (mut old, mut current): (H5E_auto1_t, H5E_auto2_t) = (None, None);
        // SAFETY: called under the library's lock with pointers to locals of the types asked for. `H5dont_atexit` is
        // the first call of the library, if nobody else uses it: it then leaves open what is open when the process
        // ends, as the `hdf5` crate wants; later calls do nothing. A handler is asked for only in its own form, since
        // the other form is an error, which that handler would be called for.
        unsafe {
            H5dont_atexit();
            if H5Eauto_is_v2(H5E_DEFAULT, &mut is_current) < 0 {
                return ErrorHandler::Unknown;
            }
            let found = if is_current > 0 {
                H5Eget_auto2(H5E_DEFAULT, &mut current, &mut data) >= 0
            } else {
                H5Eget_auto1(&mut old, &mut data) >= 0
            };
            if !found {
                return ErrorHandler::Unknown;
            }
            H5Eset_auto2(H5E_DEFAULT, None, null_mut());
        }
        match is_current {
            0 => ErrorHandler::Old(old, data),
            _ => ErrorHandler::Current(current, data),
        }
    }
}

impl Drop for ErrorHandler {
    fn drop(&mut self) {
        let _lock = LOCK.lock();
        // SAFETY: called under the library's lock; function and data are the pair that the library gave.
        unsafe {
            match *self {
                ErrorHandler::Old(function, data) => H5Eset_auto1(function, data),
                ErrorHandler::Current(function, data) => H5Eset_auto2(H5E_DEFAULT, function, data),
                ErrorHandler::Unknown => 0,
            };
        }
    }
}

/// Whether the `hdf5` crate can be asked about a type: it believes that the values of an enumeration have at most
/// 8 bytes, and looks for them in types made of others. Numbers, text and small enumerations are what we read.
pub(super) fn is_simple(kind: &Datatype) -> bool {
    let object: &Object = kind;
    let _lock = LOCK.lock();
    // SAFETY: called under the library's lock with the id of a type that is open.
    match unsafe { H5Tget_class(object.id()) } {
        H5T_class_t::H5T_INTEGER | H5T_class_t::H5T_FLOAT | H5T_class_t::H5T_STRING => true,
        H5T_class_t::H5T_ENUM => kind.size() <= 8,
        _ => false,
    }
}
