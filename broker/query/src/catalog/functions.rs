//! Functions and operators that PostgreSQL has and DataFusion has not.

pub(crate) mod definitions;
mod objects;
mod sequences;
mod sleep;

use super::pg::is_visible;
use crate::sequences::SequenceCalls;
use anabranch_engine::Session as EngineSession;
use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::{Alias, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility, create_udf,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::udfs;
use std::sync::Arc;

/// Registers them, for what `engine` may see.
pub(crate) fn register(
    context: &mut SessionContext,
    engine: &EngineSession,
    calls: &SequenceCalls,
) -> Result<()> {
    for udf in [
        udfs::json_get_json_udf(),
        udfs::json_as_text_udf(),
        udfs::json_contains_udf(),
        udfs::json_length_udf(),
        udfs::json_object_keys_udf(),
    ] {
        context.register_udf(udf)?;
    }
    context.register_expr_planner(Arc::new(JsonOperators))?;
    anabranch_semantics::register(context)?;
    context.register_udf(Arc::new(sleep::Sleep::udf()))?;
    for function in sequences::all(calls).into_iter().chain(definitions::all(engine)) {
        context.register_udf(Arc::new(function))?;
    }
    context.register_udf(Arc::new(create_udf(
        "pg_table_is_visible",
        vec![DataType::Int32],
        DataType::Boolean,
        Volatility::Stable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let oids = arrays[0].as_primitive::<Int32Type>();
            let visible: BooleanArray = oids.iter().map(|oid| oid.map(is_visible)).collect();
            Ok(ColumnarValue::Array(Arc::new(visible) as ArrayRef))
        }),
    )))?;
    for udf in objects::udfs(engine) {
        context.register_udf(Arc::new(udf))?;
    }
    for name in [
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_collation_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ] {
        context.register_udf(Arc::new(Constant::udf(name, ScalarValue::Boolean(Some(true)))))?;
    }
    // Nobody holds a lock: there are none to take.
    for name in ["pg_is_other_temp_schema", "pg_advisory_unlock", "pg_advisory_unlock_shared"] {
        context.register_udf(Arc::new(Constant::udf(name, ScalarValue::Boolean(Some(false)))))?;
    }
    let void = ScalarValue::Utf8View(Some(String::new()));
    context.register_udf(Arc::new(Constant::udf("pg_advisory_unlock_all", void)))?;
    for name in ["pg_stat_get_numscans", "pg_my_temp_schema", "pg_relation_filenode"] {
        context.register_udf(Arc::new(Constant::udf(name, ScalarValue::Int64(Some(0)))))?;
    }
    // Nothing has a comment, or a definition of these kinds, that could be shown.
    for name in [
        "obj_description",
        "col_description",
        "shobj_description",
        "pg_get_ruledef",
        "pg_get_triggerdef",
        "pg_get_functiondef",
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_function_result",
        "pg_get_function_sqlbody",
        "pg_get_statisticsobjdef",
        "pg_get_partition_constraintdef",
        "pg_tablespace_location",
    ] {
        context.register_udf(Arc::new(Constant::udf(name, ScalarValue::Utf8(None))))?;
    }
    Ok(())
}

/// A function that gives the same for any arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn udf(name: &'static str, value: ScalarValue) -> ScalarUDF {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        let signature = Signature::one_of(any, Volatility::Stable);
        ScalarUDF::from(Self { name, value, signature })
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.value.is_null() {
            let nulls = new_null_array(&self.value.data_type(), arguments.number_rows);
            return Ok(ColumnarValue::Array(nulls));
        }
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `->`, `->>`, `#>`, `#>>` and `?` on JSON text (PostgreSQL 15, 9.16), where operators are not
/// calls of `semantics`: in statements about the system catalogue and in filters.
#[derive(Debug)]
struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Arrow | BinaryOperator::HashArrow => udfs::json_get_json_udf(),
            BinaryOperator::LongArrow | BinaryOperator::HashLongArrow => udfs::json_as_text_udf(),
            BinaryOperator::Question => udfs::json_contains_udf(),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let name = format!("{} {} {}", expr.left, expr.op, expr.right);
        // `a -> 'b' ->> 'c'` is one function call, which scans the text once.
        let (document, mut path) = match unaliased(&expr.left) {
            Expr::ScalarFunction(inner) if is_get(inner) => {
                let mut arguments = inner.args.clone();
                let path = arguments.split_off(1);
                (arguments.remove(0), path)
            }
            _ => (expr.left.clone(), Vec::new()),
        };
        path.extend(path_of(&expr.op, expr.right));
        let mut arguments = vec![document];
        arguments.append(&mut path);
        let call = Expr::ScalarFunction(ScalarFunction { func: function, args: arguments });
        Ok(PlannerResult::Planned(Expr::Alias(Alias::new(call, None::<&str>, name))))
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn is_get(function: &ScalarFunction) -> bool {
    function.func.name() == "json_get_json"
        && function.args.iter().skip(1).all(|argument| matches!(argument, Expr::Literal(..)))
}

/// `#>` takes a path as an array's text: `'{a,0,b}'`.
fn path_of(operator: &BinaryOperator, right: Expr) -> Vec<Expr> {
    if !matches!(operator, BinaryOperator::HashArrow | BinaryOperator::HashLongArrow) {
        return vec![right];
    }
    let Expr::Literal(value, _) = &right else {
        return vec![right];
    };
    let Some(text) = crate::rows::text_of(value) else {
        return vec![right];
    };
    let Some(inner) = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return vec![right];
    };
    inner
        .split(',')
        .map(str::trim)
        .filter(|step| !step.is_empty())
        .map(|step| {
            let value = match step.parse::<i64>() {
                Ok(index) => ScalarValue::Int64(Some(index)),
                Err(_) => ScalarValue::Utf8(Some(step.trim_matches('"').to_owned())),
            };
            Expr::Literal(value, None)
        })
        .collect()
}
