import type { ComponentProps } from 'react'

type Kind = 'plain' | 'strong' | 'danger' | 'quiet'

const LOOKS: Record<Kind, string> = {
  plain: 'border border-line-strong bg-sheet text-ink hover:border-faint',
  strong: 'border border-thread bg-thread text-thread-ink hover:opacity-90',
  danger: 'border border-stuck text-stuck bg-sheet hover:bg-stuck-sheet',
  quiet: 'border border-transparent text-soft hover:text-ink hover:bg-sunk',
}

export function Button({
  kind = 'plain',
  className = '',
  type = 'button',
  ...rest
}: ComponentProps<'button'> & { kind?: Kind }) {
  return (
    <button
      type={type}
      className={`inline-flex items-center gap-1.5 rounded-md px-2.5 py-1 font-medium whitespace-nowrap transition-colors disabled:opacity-50 ${LOOKS[kind]} ${className}`}
      {...rest}
    />
  )
}
