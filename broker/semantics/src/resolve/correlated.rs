//! Correlated subqueries that DataFusion cannot take apart: those that look at the outer row other
//! than by an equality, and LATERAL with LIMIT. The outer values that they look at are joined to
//! what they read, each set of values once, and the results are joined to the outer rows
//! (T. Neumann, A. Kemper: Unnesting Arbitrary Queries, 2015).

mod predicates;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, JoinType, NullEquality, TableReference};
use datafusion::error::Result;
use datafusion::functions::core::coalesce;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprFunctionExt, FetchType, Join, Limit, LogicalPlan,
    LogicalPlanBuilder, Operator, Projection, SkipType, Sort, Subquery, Union, lit,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `node` without the correlated subqueries that only this takes apart.
pub(super) fn taken_apart(node: LogicalPlan) -> Result<LogicalPlan> {
    match node {
        LogicalPlan::Join(join) => match lateral(&join)? {
            Some(plan) => Ok(plan),
            None => Ok(LogicalPlan::Join(join)),
        },
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|sort| has_subquery(&sort.expr)) => {
            sorted_by_columns(sort)
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_) => scalars(node),
        other => Ok(other),
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery = |expr: &Expr| {
        matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
    };
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false)
}

/// What subqueries give to sort by becomes columns: DataFusion does not see that two orders by
/// the same subquery are the same.
fn sorted_by_columns(sort: Sort) -> Result<LogicalPlan> {
    let shown = sort.input.schema().clone();
    let mut exprs: Vec<Expr> = shown.iter().map(Expr::from).collect();
    let mut order = sort.expr;
    for (at, order) in order.iter_mut().enumerate() {
        let name = TableReference::bare(format!("order {}", Outer::number()));
        let column = Column::new(Some(name.clone()), at.to_string());
        let expr = std::mem::replace(&mut order.expr, Expr::Column(column));
        exprs.push(expr.alias_qualified(Some(name), at.to_string()));
    }
    let projection = Projection::try_new(exprs, sort.input)?;
    let input = Arc::new(scalars(LogicalPlan::Projection(projection))?);
    only(LogicalPlan::Sort(Sort { expr: order, input, fetch: sort.fetch }), &shown)
}

fn has_outer(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::OuterReferenceColumn(..)))).unwrap_or(false)
}

/// The outer columns that `plan` looks at, each once.
fn outer_columns(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut found = Vec::new();
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr
                    && !found.contains(column)
                {
                    found.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Whether DataFusion has no way to do it.
fn is_beyond(plan: &LogicalPlan) -> Result<bool> {
    let is_equality = |expr: &Expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            matches!(left.as_ref(), Expr::OuterReferenceColumn(..)) && !has_outer(right)
                || matches!(right.as_ref(), Expr::OuterReferenceColumn(..)) && !has_outer(left)
        }
        _ => false,
    };
    let mut beyond = false;
    plan.apply(|node| {
        match node {
            LogicalPlan::Filter(filter) => {
                let parts = split_conjunction(&filter.predicate);
                beyond |= parts.into_iter().any(|part| has_outer(part) && !is_equality(part));
            }
            LogicalPlan::Limit(_) => beyond = true,
            // Of a subquery of this one, taken apart here: on both sides it may look at the same.
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
                beyond |= !outer_columns(node)?.is_empty();
            }
            other => {
                other.apply_expressions(|expr| {
                    beyond |= has_outer(expr);
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(beyond)
}

/// Whether `plan` gives at most one row.
fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::Sort(Sort { input, .. }) => is_single(input),
        LogicalPlan::SubqueryAlias(alias) => is_single(&alias.input),
        LogicalPlan::Filter(filter) => is_single(&filter.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1))))
        }
        _ => false,
    }
}

/// Scalar subqueries become columns that are joined to the input.
fn scalars(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut input = match node.inputs().as_slice() {
        [input] => (*input).clone(),
        _ => return Ok(node),
    };
    let shown = node.schema().clone();
    // In filters DataFusion has joins of its own for EXISTS and IN.
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    let names = NamePreserver::new(&node);
    let mut is_changed = false;
    let mut exprs = Vec::new();
    for expr in node.expressions() {
        let name = names.save(&expr);
        let lifted = expr.transform_up(|expr| {
            let lifted = match expr {
                Expr::ScalarSubquery(subquery) => scalar(&mut input, subquery)?,
                Expr::Exists(exists) if !is_filter => {
                    let count = predicates::count_of(&exists.subquery)?;
                    let found = scalar(&mut input, count)?.data;
                    let op = if exists.negated { Operator::Eq } else { Operator::Gt };
                    let condition = BinaryExpr::new(Box::new(found), op, Box::new(lit(0i64)));
                    Transformed::yes(Expr::BinaryExpr(condition))
                }
                Expr::InSubquery(within) if !is_filter => predicates::within(&mut input, within)?,
                other => Transformed::no(other),
            };
            is_changed |= lifted.transformed;
            Ok(lifted)
        })?;
        exprs.push(name.restore(lifted.data));
    }
    if !is_changed {
        return Ok(node);
    }
    let plan = node.with_new_exprs(exprs, vec![input])?;
    // A filter or an order would show what was joined.
    match plan.schema().fields().len() == shown.fields().len() {
        true => Ok(plan),
        false => only(plan, &shown),
    }
}

/// A scalar subquery as a column of `input`, or as one that DataFusion takes apart.
fn scalar(input: &mut LogicalPlan, mut subquery: Subquery) -> Result<Transformed<Expr>> {
    let mut is_changed = false;
    if !is_single(&subquery.subquery) && !outer_columns(&subquery.subquery)?.is_empty() {
        subquery.subquery = Arc::new(predicates::single(&subquery.subquery)?);
        is_changed = true;
    }
    Ok(match joined(input, &subquery.subquery)? {
        Some((plan, column)) => {
            *input = plan;
            Transformed::yes(Expr::Column(column))
        }
        None => {
            let expr = Expr::ScalarSubquery(subquery);
            if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) }
        }
    })
}

/// `input` with the value of a subquery as a column.
fn joined(input: &LogicalPlan, subquery: &LogicalPlan) -> Result<Option<(LogicalPlan, Column)>> {
    if !is_single(subquery) {
        return Ok(None);
    }
    let Some(outer) = Outer::of(input, subquery)? else {
        return Ok(None);
    };
    let Some(plan) = outer.apply(subquery)? else {
        return Ok(None);
    };
    let value = Expr::from(subquery.schema().qualified_field(0));
    let column = Column::new(Some(outer.name.clone()), "value");
    let mut exprs = outer.exprs();
    exprs.push(value.alias_qualified(Some(outer.name.clone()), "value"));
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    Ok(Some((outer.join(input.clone(), plan, JoinType::Left, None)?, column)))
}

fn lateral(join: &Join) -> Result<Option<LogicalPlan>> {
    let subquery = match join.right.as_ref() {
        LogicalPlan::Subquery(_) => join.right.as_ref(),
        LogicalPlan::SubqueryAlias(alias)
            if matches!(alias.input.as_ref(), LogicalPlan::Subquery(_)) =>
        {
            join.right.as_ref()
        }
        _ => return Ok(None),
    };
    if !join.on.is_empty() || !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let Some(outer) = Outer::of(&join.left, subquery)? else {
        return Ok(None);
    };
    let Some(plan) = outer.apply(subquery)? else {
        return Ok(None);
    };
    let left = join.left.as_ref().clone();
    let plan = outer.join(left, plan, join.join_type, join.filter.clone())?;
    only(plan, &join.schema).map(Some)
}

/// The columns of `schema`.
fn only(plan: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let exprs: Vec<Expr> = schema.iter().map(Expr::from).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// The outer values that a subquery looks at, as a relation of its own.
struct Outer {
    /// How the relation is called: nobody else can say this.
    name: TableReference,
    /// The outer columns; in the relation they are called by their numbers.
    columns: Vec<Column>,
    values: LogicalPlan,
}

impl Outer {
    /// A number that no other relation has that is made here.
    fn number() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// None where the subquery is none of those that are taken apart here.
    fn of(input: &LogicalPlan, subquery: &LogicalPlan) -> Result<Option<Self>> {
        let columns = outer_columns(subquery)?;
        let known = |column: &Column| input.schema().has_column(column);
        if columns.is_empty() || !columns.iter().all(known) || !is_beyond(subquery)? {
            return Ok(None);
        }
        let name = TableReference::bare(format!("outer {}", Self::number()));
        let exprs = columns.iter().enumerate().map(|(at, column)| {
            Expr::Column(column.clone()).alias_qualified(Some(name.clone()), at.to_string())
        });
        let projection = Projection::try_new(exprs.collect(), Arc::new(input.clone()))?;
        let values = Distinct::All(Arc::new(LogicalPlan::Projection(projection)));
        Ok(Some(Self { name, columns, values: LogicalPlan::Distinct(values) }))
    }

    fn column(&self, at: usize) -> Column {
        Column::new(Some(self.name.clone()), at.to_string())
    }

    fn exprs(&self) -> Vec<Expr> {
        (0..self.columns.len()).map(|at| Expr::Column(self.column(at))).collect()
    }

    /// Outer columns in `expr` as columns of this relation.
    fn own(&self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_up(|expr| {
            let Expr::OuterReferenceColumn(_, column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            Ok(match self.columns.iter().position(|other| other == column) {
                Some(at) => Transformed::yes(Expr::Column(self.column(at))),
                None => Transformed::no(expr),
            })
        })?;
        Ok(replaced.data)
    }

    /// `left` joined to results, each row to those of its values.
    fn join(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        how: JoinType,
        filter: Option<Expr>,
    ) -> Result<LogicalPlan> {
        let own: Vec<Column> = (0..self.columns.len()).map(|at| self.column(at)).collect();
        LogicalPlanBuilder::from(left)
            .join_detailed(
                right,
                how,
                (self.columns.clone(), own),
                filter,
                NullEquality::NullEqualsNull,
            )?
            .build()
    }

    /// This relation's columns and then those of `schema`, by the same names.
    fn beside(&self, plan: LogicalPlan, schema: &DFSchemaRef) -> Result<LogicalPlan> {
        let mut exprs = self.exprs();
        exprs.extend(schema.iter().map(Expr::from));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// What `plan` gives for each set of outer values, with these beside it; none where it has a
    /// node that is not known here.
    fn apply(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if outer_columns(plan)?.is_empty() {
            let both = LogicalPlanBuilder::from(self.values.clone()).cross_join(plan.clone())?;
            return both.build().map(Some);
        }
        match plan {
            LogicalPlan::Subquery(subquery) => self.apply(&subquery.subquery),
            LogicalPlan::Filter(filter) => {
                let Some(input) = self.apply(&filter.input)? else { return Ok(None) };
                let predicate = self.own(filter.predicate.clone())?;
                LogicalPlanBuilder::from(input).filter(predicate)?.build().map(Some)
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.apply(&projection.input)? else { return Ok(None) };
                let mut exprs = self.exprs();
                for (expr, (relation, field)) in
                    projection.expr.iter().zip(projection.schema.iter())
                {
                    let expr = self.own(expr.clone())?.unalias();
                    exprs.push(expr.alias_qualified(relation.cloned(), field.name()));
                }
                Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.apply(&alias.input)? else { return Ok(None) };
                let mut exprs = self.exprs();
                let inner = alias.input.schema().iter();
                for (from, (relation, field)) in inner.zip(alias.schema.iter()) {
                    let column = Expr::from(from);
                    exprs.push(column.alias_qualified(relation.cloned(), field.name()));
                }
                Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Sort(sort) => {
                let Some(input) = self.apply(&sort.input)? else { return Ok(None) };
                let mut expr = sort.expr.clone();
                for sort in &mut expr {
                    sort.expr = self.own(sort.expr.clone())?;
                }
                let sorted = Sort { expr, input: Arc::new(input), fetch: sort.fetch };
                Ok(Some(LogicalPlan::Sort(sorted)))
            }
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(input) = self.apply(input)? else { return Ok(None) };
                Ok(Some(LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
            }
            LogicalPlan::Join(join) => self.inner_join(join),
            LogicalPlan::Unnest(unnest) => {
                let Some(input) = self.apply(&unnest.input)? else { return Ok(None) };
                let columns = unnest.exec_columns.clone();
                let plan = LogicalPlanBuilder::from(input)
                    .unnest_columns_with_options(columns, unnest.options.clone())?
                    .build()?;
                self.beside(plan, &unnest.schema).map(Some)
            }
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let Some(plan) = self.apply(input)? else { return Ok(None) };
                    inputs.push(Arc::new(self.beside(plan, input.schema())?));
                }
                let all = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
                // A union's columns have no relations.
                let mut exprs: Vec<Expr> = Vec::new();
                for (at, (relation, field)) in all.schema().iter().enumerate() {
                    let column = Expr::from((relation, field));
                    exprs.push(match at.checked_sub(self.columns.len()) {
                        None => column.alias_qualified(Some(self.name.clone()), at.to_string()),
                        Some(at) => {
                            let (relation, field) = union.schema.qualified_field(at);
                            column.alias_qualified(relation.cloned(), field.name())
                        }
                    });
                }
                Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(all))?)))
            }
            _ => Ok(None),
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
        let is_grouping_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if aggregate.group_expr.iter().any(is_grouping_set) {
            return Ok(None);
        }
        let Some(input) = self.apply(&aggregate.input)? else { return Ok(None) };
        let mut group_expr = self.exprs();
        for expr in &aggregate.group_expr {
            group_expr.push(self.own(expr.clone())?);
        }
        let aggr_expr = aggregate.aggr_expr.iter().map(|expr| self.own(expr.clone()));
        let aggr_expr = aggr_expr.collect::<Result<Vec<_>>>()?;
        let grouped = Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?;
        let own = self.columns.len();
        let is_whole = aggregate.group_expr.is_empty();
        // Where nothing is found there is still a row, with counts of zero.
        let inner = TableReference::bare(format!("{} inner", self.name));
        let mut exprs = Vec::new();
        for at in 0..own {
            let column = Expr::Column(self.column(at));
            exprs.push(match is_whole {
                true => column.alias_qualified(Some(inner.clone()), at.to_string()),
                false => column,
            });
        }
        for (at, (relation, field)) in aggregate.schema.iter().enumerate() {
            let column = Expr::from(grouped.schema.qualified_field(own + at));
            exprs.push(column.alias_qualified(relation.cloned(), field.name()));
        }
        let grouped = LogicalPlan::Aggregate(grouped);
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(grouped))?);
        if !is_whole {
            return Ok(Some(plan));
        }
        let numbered = |name: &TableReference| -> Vec<Column> {
            (0..own).map(|at| Column::new(Some(name.clone()), at.to_string())).collect()
        };
        let keys = (numbered(&self.name), numbered(&inner));
        let null_equality = NullEquality::NullEqualsNull;
        let all = LogicalPlanBuilder::from(self.values.clone())
            .join_detailed(plan, JoinType::Left, keys, None, null_equality)?
            .build()?;
        let mut exprs = self.exprs();
        for (expr, (relation, field)) in aggregate.aggr_expr.iter().zip(aggregate.schema.iter()) {
            let column = Expr::from((relation, field));
            let default = match expr.clone().unalias() {
                Expr::AggregateFunction(function) => {
                    function.func.default_value(field.data_type())?
                }
                _ => return Ok(None),
            };
            exprs.push(match default.is_null() {
                true => column,
                false => coalesce()
                    .call(vec![column, lit(default)])
                    .alias_qualified(relation.cloned(), field.name()),
            });
        }
        Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(all))?)))
    }

    /// The first rows of each set of outer values.
    fn limit(&self, limit: &Limit) -> Result<Option<LogicalPlan>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Ok(None);
        };
        // What the rows are ordered by is known below a projection, too.
        if let LogicalPlan::Projection(projection) = limit.input.as_ref() {
            let below = Limit { input: projection.input.clone(), ..limit.clone() };
            let below = Arc::new(LogicalPlan::Limit(below));
            let above = Projection::try_new(projection.expr.clone(), below)?;
            return self.apply(&LogicalPlan::Projection(above));
        }
        let (input, order) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.clone()),
            other => (other, Vec::new()),
        };
        let Some(plan) = self.apply(input)? else { return Ok(None) };
        let mut order_by = Vec::with_capacity(order.len());
        for mut sort in order {
            sort.expr = self.own(sort.expr)?;
            order_by.push(sort);
        }
        let number = row_number().partition_by(self.exprs());
        let number = match order_by.is_empty() {
            true => number.build()?,
            false => number.order_by(order_by).build()?,
        };
        let name = format!("{} row", self.name);
        let plan = LogicalPlanBuilder::from(plan).window(vec![number.alias(&name)])?.build()?;
        // row_number is an unsigned integer.
        let place = Expr::Column(Column::new_unqualified(name));
        let mut wanted = place.clone().gt(lit(skip as u64));
        if let Some(fetch) = fetch {
            wanted = wanted.and(place.lt_eq(lit(skip.saturating_add(fetch) as u64)));
        }
        let plan = LogicalPlanBuilder::from(plan).filter(wanted)?.build()?;
        self.beside(plan, input.schema()).map(Some)
    }

    /// A join of which a side, or the condition alone, looks at outer values.
    fn inner_join(&self, join: &Join) -> Result<Option<LogicalPlan>> {
        let left_looks = !outer_columns(&join.left)?.is_empty();
        let right_looks = !outer_columns(&join.right)?.is_empty();
        let filter = join.filter.clone().map(|filter| self.own(filter)).transpose()?;
        // Those on the right are called differently, and are the same as those on the left.
        let name = TableReference::bare(format!("outer {}", Self::number()));
        let mut same = Vec::new();
        let (left, right) = match (join.join_type, left_looks, right_looks) {
            (JoinType::Inner, false, true) => {
                let Some(right) = self.apply(&join.right)? else { return Ok(None) };
                (join.left.clone(), Arc::new(right))
            }
            (JoinType::Inner | JoinType::Left, _, false) => {
                let Some(left) = self.apply(&join.left)? else { return Ok(None) };
                (Arc::new(left), join.right.clone())
            }
            (JoinType::Inner | JoinType::Left, true, true)
                if join.null_equality == NullEquality::NullEqualsNull =>
            {
                let Some(left) = self.apply(&join.left)? else { return Ok(None) };
                let Some(right) = self.apply(&join.right)? else { return Ok(None) };
                let mut exprs = Vec::new();
                for (at, expr) in self.exprs().into_iter().enumerate() {
                    let other = Column::new(Some(name.clone()), at.to_string());
                    same.push((Expr::Column(self.column(at)), Expr::Column(other)));
                    exprs.push(expr.alias_qualified(Some(name.clone()), at.to_string()));
                }
                exprs.extend(join.right.schema().iter().map(Expr::from));
                let right = Projection::try_new(exprs, Arc::new(right))?;
                (Arc::new(left), Arc::new(LogicalPlan::Projection(right)))
            }
            _ => return Ok(None),
        };
        let on = join
            .on
            .iter()
            .map(|(a, b)| Ok((self.own(a.clone())?, self.own(b.clone())?)))
            .chain(same.into_iter().map(Ok))
            .collect::<Result<Vec<_>>>()?;
        let plan = Join::try_new(
            left,
            right,
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        self.beside(LogicalPlan::Join(plan), &join.schema).map(Some)
    }
}
