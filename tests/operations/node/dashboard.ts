// What a dashboard must be: Grafana's own types, with the options of every kind of panel that is used.
//
// Where they are narrowed or widened, and why:
// - Grafana leaves `options`, `custom` and `targets` of a panel open, since they belong to plug-ins; here each kind of
//   panel has its plug-in's types, so that a misspelt option is an error. A kind that is not listed is one, too.
// - JSON has no enums: `Json` takes the text of an enum's member where the types want the member.
// - `definition` of a variable and `expr` of an annotation are read by Grafana and missing in its types.
import type { AnnotationQuery, Dashboard, DataQuery, FieldConfig, FieldConfigSource, Panel, RowPanel, VariableModel } from "@grafana/schema";
import type { Options as BarGauge } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { FieldConfig as TimelineField, Options as Timeline } from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { FieldConfig as TableField, Options as Table } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { FieldConfig as SeriesField, Options as TimeSeries } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Json<T> = T extends string ? `${T}` : T extends (infer E)[] ? Json<E>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

interface Query {
  refId: string;
  datasource: { type: "prometheus"; uid: "${datasource}" };
  editorMode: "code";
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format?: "table";
}

// Grafana's `custom` is also a map of anything; here it is the plug-in's fields and no others.
interface Field<C> extends Omit<FieldConfigSource, "defaults"> {
  defaults: Omit<{ [K in keyof FieldConfig]: FieldConfig[K] }, "custom"> & { unit: string; custom?: C };
}

interface Drawn<K extends string, O, C> extends Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> {
  type: K;
  title: string;
  description: string;
  options: O;
  fieldConfig: Field<C>;
  targets: Query[];
}

type Drawing =
  | Drawn<"timeseries", TimeSeries, SeriesField>
  | Drawn<"stat", Stat, never>
  | Drawn<"bargauge", BarGauge, never>
  | Drawn<"state-timeline", Timeline, TimelineField>
  | Drawn<"table", Table, TableField>
  | RowPanel;

interface Prometheus extends DataQuery {
  expr: string;
}

interface Whole extends Omit<Dashboard, "panels" | "templating" | "annotations"> {
  uid: string;
  schemaVersion: 42;
  panels: Drawing[];
  templating: { list: (VariableModel & { definition?: string })[] };
  annotations: { list: AnnotationQuery<Prometheus>[] };
}

export type DashboardJson = Json<Whole>;
