//! Others use the same HDF5 library: its error handler is theirs, and nothing of ours stays open.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hdf5_sys::h5::herr_t;
use hdf5_sys::h5e::{H5E_auto2_t, H5Eget_auto2, H5Eset_auto2, H5E_DEFAULT};
use hdf5_sys::h5f::{H5Fget_obj_count, H5F_OBJ_ALL};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::LOCK;

use scvae::counts::{add_to_h5ad, Entry, Slot, Value};

use super::h5ad::small;
use super::unstopped;
use super::write::{self, Encoding, Storage};

static CALLS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn theirs(_: hid_t, _: *mut c_void) -> herr_t {
    CALLS.fetch_add(1, Relaxed);
    0
}

/// Files, groups, datasets, types and attributes that are open.
fn n_open() -> isize {
    // SAFETY: the caller holds the library's lock; a library without open files is asked, too.
    unsafe { H5Fget_obj_count(hid_t::from(H5F_OBJ_ALL), H5F_OBJ_ALL) as isize }
}

#[test]
fn the_error_handler_is_put_back_and_nothing_stays_open() {
    let csr = Encoding::Csr { reversed: false };
    let good = write::h5ad(&small(), csr, Storage::default()).closed();
    let bad = write::h5ad(&small(), csr, Storage::default());
    bad.root().group("X").unwrap().unlink("data").unwrap();
    let bad = bad.closed();
    let text = good.path.with_file_name("text.h5ad");
    std::fs::write(&text, "no HDF5").unwrap();
    // Some of what the library keeps is made by its first use.
    for path in [&good.path, &bad.path, &text] {
        let _ = unstopped::read(path, None);
    }
    // Other tests of this process open files, too: none meanwhile.
    let _lock = LOCK.lock();
    let mut data = 0u8;
    let data: *mut c_void = (&raw mut data).cast();
    // SAFETY: under the library's lock; the handler has the form that the library wants and uses no data.
    unsafe { H5Eset_auto2(H5E_DEFAULT, Some(theirs), data) };
    let before = n_open();
    assert!(before >= 0);
    assert!(unstopped::read(&good.path, None).is_ok());
    assert!(unstopped::read(&good.path, Some("no such layer")).is_err());
    assert!(unstopped::obs_columns(&good.path).is_ok());
    assert!(unstopped::obs_column(&good.path, "no such column").is_err());
    for path in [&bad.path, &text] {
        assert!(unstopped::read(path, None).is_err());
    }
    let flag = |name: &str| Entry {
        slot: Slot::Uns,
        name: name.into(),
        value: Value::Flag(true),
    };
    assert!(add_to_h5ad(&good.path, &[flag("a")], false, &|| false).is_ok());
    assert!(add_to_h5ad(&good.path, &[flag("a")], false, &|| false).is_err());
    assert!(add_to_h5ad(&text, &[flag("a")], false, &|| false).is_err());
    assert_eq!(n_open(), before);
    assert_eq!(CALLS.load(Relaxed), 0, "the handler of others was called");
    let (mut found, mut found_data): (H5E_auto2_t, _) = (None, null_mut());
    // SAFETY: under the library's lock, with pointers to locals of the types asked for.
    unsafe {
        H5Eget_auto2(H5E_DEFAULT, &mut found, &mut found_data);
        H5Eset_auto2(H5E_DEFAULT, None, null_mut());
    }
    assert_eq!(
        found.map(|f| f as usize),
        Some(theirs as *const () as usize)
    );
    assert_eq!(found_data, data);
}
