import type { HistoryItem, Saga } from '@backstitch/core'
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
import { useMemo } from 'react'
import { type Standing, type Step, standingOf } from './course.ts'

/** Forward along the upper lane, back along the lower one: the seam and the way it is undone. */

const WIDTH = 168
const HEIGHT = 54
const LANE = 46

const LOOKS: Record<Standing, { word: string; looks: string }> = {
  done: { word: 'done', looks: 'border-completed' },
  byHand: { word: 'undone by hand', looks: 'border-completed border-dashed' },
  running: { word: 'under way', looks: 'border-running border-2' },
  scheduled: { word: 'tried again soon', looks: 'border-running border-dashed' },
  waiting: { word: 'waiting', looks: 'border-running border-dotted border-2' },
  failed: { word: 'failed', looks: 'border-failed border-2' },
  stuck: { word: 'stuck', looks: 'border-stuck border-2 bg-stuck-sheet' },
  skipped: { word: 'passed over', looks: 'border-line-strong border-dashed opacity-80' },
  uncertain: { word: 'uncertain', looks: 'border-compensating border-2 bg-warn-sheet' },
  owed: { word: 'to be undone', looks: 'border-compensating border-dashed' },
  ahead: { word: '', looks: 'border-line' },
  none: { word: 'nothing to undo', looks: 'border-line border-dotted' },
}

type StepNode = Node<
  { name: string; under: string; standing: Standing; undo: boolean; pivot: boolean },
  'step'
>

export function Graph({
  steps,
  saga,
  history,
  onChoose,
}: {
  steps: readonly Step[]
  saga: Saga | undefined
  history: readonly HistoryItem[]
  onChoose?: (step: string) => void
}) {
  const { nodes, edges } = useMemo(() => drawingOf(steps, saga, history), [steps, saga, history])
  if (steps.length === 0) return <p className="p-4 text-faint">The definition cannot be shown.</p>
  return (
    <div className="h-72" role="group" aria-label="The steps: forward above, undo below">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODES}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={onChoose !== undefined}
        edgesFocusable={false}
        fitView
        fitViewOptions={{ padding: 0.12, maxZoom: 1, minZoom: steps.length > 14 ? 0.6 : 0.2 }}
        minZoom={0.05}
        maxZoom={1.5}
        onlyRenderVisibleElements
        proOptions={{ hideAttribution: true }}
        onNodeClick={(_event, node) => onChoose?.(node.data.name)}
      >
        <Background gap={18} color="var(--line)" />
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  )
}

const NODES = { step: StepBox }

function StepBox({ data }: NodeProps<StepNode>) {
  const { word, looks } = LOOKS[data.standing]
  return (
    <div
      className={`flex h-[54px] w-[168px] flex-col justify-center rounded-md border bg-sheet px-2.5 ${looks}`}
      title={`${data.undo ? 'undo of ' : ''}${data.name}: ${word || 'still ahead'}${data.under === '' ? '' : `\n${data.under}`}`}
    >
      <Handle type="target" position={data.undo ? Position.Right : Position.Left} className="!opacity-0" />
      <span className="flex items-center justify-between gap-1">
        <bdi className={`truncate font-medium ${data.standing === 'ahead' ? 'text-faint' : ''}`}>
          {data.undo ? `↶ ${data.name}` : data.name}
        </bdi>
        {data.pivot && (
          <span className="rounded bg-sunk px-1 text-[10px] text-soft" title="After it nothing is undone">
            pivot
          </span>
        )}
      </span>
      <span className="truncate text-[11px] text-soft">{word || data.under || ' '}</span>
      <Handle type="source" position={data.undo ? Position.Left : Position.Right} className="!opacity-0" />
    </div>
  )
}

/** The layout's own types say nothing of it. */
function placeOf(node: unknown): { x: number; y: number } {
  const { x = 0, y = 0 } =
    typeof node === 'object' && node !== null ? { x: undefined, y: undefined, ...node } : {}
  return { x: Number(x), y: Number(y) }
}

function drawingOf(
  steps: readonly Step[],
  saga: Saga | undefined,
  history: readonly HistoryItem[],
): { nodes: StepNode[]; edges: Edge[] } {
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

  const nodes: StepNode[] = []
  const edges: Edge[] = []
  const undoStanding = new Map<string, Standing>()
  for (const step of steps) {
    const { x, y } = places.get(step.name) ?? { x: 0, y: 0 }
    const forward = saga === undefined ? 'ahead' : standingOf(saga, step, 'action', history)
    const back =
      saga === undefined
        ? step.compensation
          ? 'ahead'
          : 'none'
        : standingOf(saga, step, 'compensation', history)
    undoStanding.set(step.name, back)
    const data = { name: step.name, under: step.does ?? '', pivot: step.pivot }
    nodes.push({
      id: step.name,
      type: 'step',
      position: { x: x - WIDTH / 2, y: y - HEIGHT / 2 },
      width: WIDTH,
      height: HEIGHT,
      data: { ...data, standing: forward, undo: false },
      ariaLabel: `${step.name}: ${LOOKS[forward].word || 'still ahead'}`,
    })
    if (back === 'none') continue
    nodes.push({
      id: `undo ${step.name}`,
      type: 'step',
      position: { x: x - WIDTH / 2, y: lowest + LANE + (y - HEIGHT / 2) },
      width: WIDTH,
      height: HEIGHT,
      data: { ...data, under: '', pivot: false, standing: back, undo: true },
      ariaLabel: `undo of ${step.name}: ${LOOKS[back].word || 'not needed so far'}`,
    })
  }
  const done = new Set(saga?.completedSteps)
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
