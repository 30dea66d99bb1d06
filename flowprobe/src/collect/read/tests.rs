//! Records as exporters write them, octet by octet.
