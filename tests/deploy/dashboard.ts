// What a dashboard of this repository must be: Grafana's own types, and our narrower rules.
// A test writes each dashboard as `export default {...} satisfies Board` beside a copy of this.
import type {
  AnnotationQuery, Dashboard, FieldConfig, MatcherConfig, Panel, RowPanel, VariableModel,
} from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as series from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has no enums: let each stand for its values.
type Plain<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends number ? (`${T}` extends `${infer N extends number}` ? N : never)
  : T extends boolean | null | undefined ? T
  : { [K in keyof T]: Plain<T[K]> };

type Prometheus = { type: 'prometheus'; uid: '${datasource}' };
type Builtin = { type: 'grafana'; uid: '-- Grafana --' };

// The package has no type for a query of Prometheus.
interface Query {
  refId: string;
  datasource: Prometheus;
  editorMode: 'code';
  expr: string;
  format?: 'table' | 'time_series' | 'heatmap';
  instant: boolean;
  interval?: string;
  legendFormat?: string;
  range: boolean;
}

type Settings<Of, Prefix extends string = ''> = {
  [Key in keyof Of & string]-?: { id: `${Prefix}${Key}`; value: Of[Key] };
}[keyof Of & string];

interface Override<Custom> {
  matcher: Plain<MatcherConfig>;
  properties: Array<
    | Settings<Omit<Plain<FieldConfig>, 'custom'>>
    | Settings<Plain<Custom>, 'custom.'>
  >;
}

type Common = Pick<
  Plain<Panel>, 'gridPos' | 'interval' | 'links' | 'maxDataPoints' | 'timeFrom' | 'transformations'
>;

interface Shown<Type extends string, Options, Custom> extends Common {
  id: number;
  type: Type;
  title: string;
  description: string;
  datasource: Prometheus;
  targets: Query[];
  options: Plain<Options>;
  fieldConfig: {
    defaults: Omit<Plain<FieldConfig>, 'custom'> & { custom?: Plain<Custom> };
    overrides: Override<Custom>[];
  };
}

type OwnPanel =
  | Shown<'stat', stat.Options, Record<string, never>>
  | Shown<'table', table.Options, Partial<table.FieldConfig>>
  | Shown<'state-timeline', timeline.Options, timeline.FieldConfig>
  | Shown<'timeseries', series.Options, series.FieldConfig>;

interface Row extends Pick<Plain<RowPanel>, 'collapsed' | 'gridPos' | 'title'> {
  id: number;
  type: 'row';
  panels: OwnPanel[];
}

interface Variable extends Omit<Plain<VariableModel>, 'datasource' | 'current'> {
  definition?: string;
  datasource?: Prometheus;
  current?: Partial<Plain<VariableModel>['current']>;
}

interface Annotation extends Omit<Plain<AnnotationQuery>, 'datasource' | 'target'> {
  datasource: Prometheus | Builtin;
  target?: Omit<Query, 'legendFormat'>;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
  useValueForTime?: boolean;
}

export interface Board
  extends Omit<Plain<Dashboard>, 'annotations' | 'panels' | 'templating'> {
  uid: string;
  title: string;
  description: string;
  annotations: { list: Annotation[] };
  templating: { list: Variable[] };
  panels: Array<OwnPanel | Row>;
}
