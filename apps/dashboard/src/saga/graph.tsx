import type { Direction } from '@backstitch/core'
import dagre from '@dagrejs/dagre'
import {
  Background,
  Controls,
  type Edge,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
} from '@xyflow/react'
import '@xyflow/react/dist/style.css'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import type { Standing, Step } from './course.ts'

/** Forward along the upper lane, back along the lower one: the seam and the way it is undone. */

const WIDTH = 168
const HEIGHT = 54
const LANE = 30

const LOOKS: Record<Standing, { word: string; looks: string }> = {
  done: { word: 'done', looks: 'border-completed' },
  byHand: { word: 'undone by hand', looks: 'border-completed border-dashed' },
  running: { word: 'under way', looks: 'border-running border-2' },
  scheduled: { word: 'scheduled', looks: 'border-running border-dashed' },
  waiting: { word: 'waiting', looks: 'border-running border-dotted border-2' },
  failed: { word: 'failed', looks: 'border-failed border-2' },
  stuck: { word: 'stuck', looks: 'border-stuck border-2 bg-stuck-sheet' },
  skipped: { word: 'passed over', looks: 'border-line-strong border-dashed opacity-80' },
  uncertain: { word: 'uncertain', looks: 'border-compensating border-2 bg-warn-sheet' },
  owed: { word: 'to be undone', looks: 'border-compensating border-dashed' },
  ahead: { word: '', looks: 'border-line-strong' },
  none: { word: 'nothing to undo', looks: 'border-line border-dotted' },
}

type StepNode = Node<
  {
    name: string
    under: string
    standing: Standing
    undo: boolean
    pivot: boolean
    child: string | undefined
    onChoose: ((step: string) => void) | undefined
  },
  'step'
>

export type Standings = (step: Step, direction: Direction) => Standing

/** More steps than these are not shown at once: it begins where something is the matter. */
const SEEN_AT_ONCE = globalThis.innerWidth < 640 ? 3 : 9

export function Graph({
  steps,
  standings,
  looksAt,
  children,
  onChoose,
}: {
  steps: readonly Step[]
  standings: Standings
  /** The step at which it begins, where there are many. */
  looksAt?: string | undefined
  /** The sagas that carry steps out. */
  children?: Readonly<Record<string, string>> | undefined
  onChoose?: (step: string) => void
}) {
  const layout = useMemo(() => layoutOf(steps), [steps])
  const { nodes, edges } = useMemo(
    () => drawingOf(steps, layout, standings, children, onChoose),
    [steps, layout, standings, children, onChoose],
  )
  // Where the eye begins is chosen once; from then on it is the person's.
  const [first] = useState(() => {
    if (steps.length <= SEEN_AT_ONCE) return undefined
    const at = Math.max(
      0,
      steps.findIndex(({ name }) => name === looksAt),
    )
    const from = Math.max(0, Math.min(at - (SEEN_AT_ONCE - 1) / 2, steps.length - SEEN_AT_ONCE))
    return steps
      .slice(from, from + SEEN_AT_ONCE)
      .flatMap(({ name }) => [{ id: name }, { id: `undo ${name}` }])
  })
  if (steps.length === 0) return <p className="p-4 text-faint">The definition cannot be shown.</p>
  return (
    <div className="h-72" role="group" aria-label="The steps: forward above, undo below">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODES}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        fitView
        fitViewOptions={{ padding: 0.08, maxZoom: 1, minZoom: 0.2, ...(first && { nodes: first }) }}
        minZoom={0.05}
        maxZoom={1.5}
        onlyRenderVisibleElements
        proOptions={{ hideAttribution: true }}
      >
        <Background gap={18} color="var(--line)" />
        <Controls showInteractive={false} orientation="horizontal" position="bottom-right" />
      </ReactFlow>
    </div>
  )
}

const NODES = { step: StepBox }

function StepBox({ data }: NodeProps<StepNode>) {
  const { word, looks } = LOOKS[data.standing]
  const { name, undo, pivot, under, child, onChoose } = data
  const label = `${undo ? 'undo of ' : ''}${name}: ${word || (undo ? 'not needed so far' : 'still ahead')}`
  return (
    <div
      className={`relative h-[54px] w-[168px] rounded-md border bg-sheet ${looks}`}
      title={under === '' ? label : `${label}\n${under}`}
    >
      <Handle type="target" position={undo ? Position.Right : Position.Left} className="!opacity-0" />
      <button
        type="button"
        disabled={onChoose === undefined}
        onClick={() => onChoose?.(name)}
        className="flex size-full flex-col justify-center px-2.5 text-left disabled:cursor-default"
      >
        <span className="flex w-full items-center justify-between gap-1">
          <bdi className={`truncate font-medium ${data.standing === 'ahead' ? 'text-soft' : ''}`}>
            {undo && (
              <>
                <span aria-hidden="true">↶ </span>
                <span className="sr-only">undo of </span>
              </>
            )}
            {name}
          </bdi>
          {pivot && (
            <span className="rounded bg-sunk px-1 text-[10px] text-soft" title="After it nothing is undone">
              pivot
            </span>
          )}
        </span>
        <span className={`w-full truncate text-[11px] text-soft ${child === undefined ? '' : 'pr-10'}`}>
          {word || under || ' '}
          {word === '' && <span className="sr-only">{undo ? 'not needed so far' : 'still ahead'}</span>}
        </span>
      </button>
      {child !== undefined && (
        <Link
          to="/sagas/$sagaId"
          params={{ sagaId: child }}
          className="nopan text-link absolute right-2 bottom-1.5 text-[11px]"
          aria-label={`The saga that carries out ${name}`}
        >
          saga →
        </Link>
      )}
      <Handle type="source" position={undo ? Position.Left : Position.Right} className="!opacity-0" />
    </div>
  )
}

/** The layout's own types say nothing of it. */
function placeOf(node: unknown): { x: number; y: number } {
  const { x = 0, y = 0 } =
    typeof node === 'object' && node !== null ? { x: undefined, y: undefined, ...node } : {}
  return { x: Number(x), y: Number(y) }
}

type Layout = {
  places: ReadonlyMap<string, { x: number; y: number }>
  groups: readonly (readonly Step[])[]
  links: readonly (readonly [one: string, next: string])[]
  lowest: number
}

/** Where everything stands changes with the definition alone. */
function layoutOf(steps: readonly Step[]): Layout {
  const graph = new dagre.graphlib.Graph()
  graph.setGraph({ rankdir: 'LR', ranksep: 42, nodesep: 14 })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const { name } of steps) graph.setNode(name, { width: WIDTH, height: HEIGHT })
  const groups = [...Map.groupBy(steps, ({ place }) => place).values()]
  const links = groups.flatMap((group, index) =>
    group.flatMap((one) => (groups[index + 1] ?? []).map((next) => [one.name, next.name] as const)),
  )
  for (const [one, next] of links) graph.setEdge(one, next)
  dagre.layout(graph)
  const places = new Map(steps.map(({ name }) => [name, placeOf(graph.node(name))]))
  const lowest = Math.max(...[...places.values()].map(({ y }) => y)) + HEIGHT
  return { places, groups, links, lowest }
}

function drawingOf(
  steps: readonly Step[],
  { places, groups, links, lowest }: Layout,
  standings: Standings,
  children: Readonly<Record<string, string>> | undefined,
  onChoose: ((step: string) => void) | undefined,
): { nodes: StepNode[]; edges: Edge[] } {
  const nodes: StepNode[] = []
  const edges: Edge[] = []
  const undoStanding = new Map<string, Standing>()
  const done = new Set<string>()
  for (const step of steps) {
    const { x, y } = places.get(step.name) ?? { x: 0, y: 0 }
    const forward = standings(step, 'action')
    const back = standings(step, 'compensation')
    undoStanding.set(step.name, back)
    if (forward === 'done') done.add(step.name)
    const child =
      children !== undefined && Object.hasOwn(children, step.name) ? children[step.name] : undefined
    const data = { name: step.name, under: step.does ?? '', pivot: step.pivot, onChoose }
    nodes.push({
      id: step.name,
      type: 'step',
      position: { x: x - WIDTH / 2, y: y - HEIGHT / 2 },
      width: WIDTH,
      height: HEIGHT,
      data: { ...data, standing: forward, undo: false, child },
    })
    if (back === 'none') continue
    nodes.push({
      id: `undo ${step.name}`,
      type: 'step',
      position: { x: x - WIDTH / 2, y: lowest + LANE + (y - HEIGHT / 2) },
      width: WIDTH,
      height: HEIGHT,
      data: { ...data, under: '', pivot: false, standing: back, undo: true, child: undefined },
    })
  }
  for (const [one, next] of links) {
    edges.push({
      id: `${one} ${next}`,
      source: one,
      target: next,
      style: {
        stroke: done.has(one) ? 'var(--thread)' : 'var(--line-strong)',
        strokeWidth: done.has(one) ? 2 : 1,
      },
    })
  }
  // The way back passes over what has no undo.
  const undoable = groups.map((group) => group.filter(({ name }) => undoStanding.get(name) !== 'none'))
  const lanes = undoable.filter((group) => group.length > 0)
  lanes.forEach((group, index) => {
    for (const later of lanes[index + 1] ?? []) {
      for (const one of group) {
        const isUndone = undoStanding.get(later.name) === 'done' || undoStanding.get(later.name) === 'byHand'
        edges.push({
          id: `undo ${later.name} ${one.name}`,
          source: `undo ${later.name}`,
          target: `undo ${one.name}`,
          style: {
            stroke: isUndone ? 'var(--compensating)' : 'var(--line-strong)',
            strokeDasharray: '5 4',
            strokeWidth: isUndone ? 2 : 1,
          },
        })
      }
    }
  })
  return { nodes, edges }
}
