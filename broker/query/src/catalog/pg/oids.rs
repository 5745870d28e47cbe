//! Oids of the catalogue's own relations.

/// Relations of the catalogue whose oids clients ask for by name: they say what a comment or a
/// dependency is of.
pub(in crate::catalog) const SYSTEM: [(i32, &str); 26] = [
    (826, "pg_default_acl"),
    (1213, "pg_tablespace"),
    (1247, "pg_type"),
    (1249, "pg_attribute"),
    (1255, "pg_proc"),
    (1259, "pg_class"),
    (1260, "pg_authid"),
    (1262, "pg_database"),
    (1417, "pg_foreign_server"),
    (2224, "pg_sequence"),
    (2328, "pg_foreign_data_wrapper"),
    (2604, "pg_attrdef"),
    (2606, "pg_constraint"),
    (2608, "pg_depend"),
    (2609, "pg_description"),
    (2610, "pg_index"),
    (2612, "pg_language"),
    (2615, "pg_namespace"),
    (2607, "pg_conversion"),
    (2616, "pg_opclass"),
    (2617, "pg_operator"),
    (2753, "pg_opfamily"),
    (3456, "pg_collation"),
    (2618, "pg_rewrite"),
    (2620, "pg_trigger"),
    (3079, "pg_extension"),
];

/// Oid of a relation of the catalogue.
pub(crate) fn system_oid(name: &str) -> Option<i32> {
    SYSTEM.iter().find(|(_, system)| *system == name).map(|(oid, _)| *oid)
}
