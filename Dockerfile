# One image for the API, the workers and the migration: they differ in the command (docker-compose.yml).
# The sources run as they are, without a build: Node removes the types.

FROM node:24-bookworm-slim AS install
WORKDIR /app
RUN npm install --global pnpm@10.34.9
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
COPY packages packages
COPY apps apps
RUN pnpm install --frozen-lockfile --prod --filter-prod '@backstitch/api...' --filter-prod '@backstitch/worker...'

# The dashboard is the one thing that is built.
FROM node:24-bookworm-slim AS dashboard
WORKDIR /app
RUN npm install --global pnpm@10.34.9
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml tsconfig.base.json ./
COPY packages packages
COPY apps apps
RUN pnpm install --frozen-lockfile --filter '@backstitch/dashboard...' && pnpm --filter @backstitch/dashboard build

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
# The workspace keeps its shape: packages are symlinks, and Node refuses to remove types below node_modules.
COPY --from=install /app/package.json ./
COPY --from=install /app/node_modules node_modules
COPY --from=install /app/packages packages
COPY --from=install /app/apps/api apps/api
COPY --from=install /app/apps/worker apps/worker
COPY --from=dashboard /app/apps/dashboard/dist apps/dashboard/dist
COPY migrations migrations
USER node
EXPOSE 8080 8081
# The processes handle SIGTERM as PID 1 themselves: no shell, no init in between.
CMD ["node", "apps/api/src/main.ts"]
