import { Dialog as Base } from '@base-ui/react/dialog'
import type { ReactNode } from 'react'

export function Dialog({
  open,
  onClose,
  title,
  children,
  wide = false,
}: {
  open: boolean
  onClose: () => void
  title: string
  children: ReactNode
  wide?: boolean
}) {
  return (
    <Base.Root open={open} onOpenChange={(isOpen) => isOpen || onClose()}>
      <Base.Portal>
        <Base.Backdrop className="fixed inset-0 z-40 bg-black/45" />
        <Base.Popup
          className={`sheet fixed top-[8dvh] left-1/2 z-50 max-h-[84dvh] w-[calc(100vw-2rem)] -translate-x-1/2 overflow-auto p-5 shadow-2xl ${wide ? 'max-w-4xl' : 'max-w-xl'}`}
        >
          <Base.Title className="mb-3 text-lg font-semibold">{title}</Base.Title>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  )
}
