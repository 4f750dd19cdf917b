# Rails' sessions (Action Pack) in a cache store in Redis.
# As documented: ActionDispatch::Session::CacheStore with a redis_cache_store, reset_session at login and logout.
# Beyond it: the cache store's timeouts. Its errors are logged and swallowed, which is its documented default.
require "action_controller"
require "action_dispatch"
require "active_support/cache/redis_cache_store"

TIMEOUT = Float(ENV.fetch("REDIS_TIMEOUT_SECONDS"))
CACHE = ActiveSupport::Cache::RedisCacheStore.new(
  url: ENV.fetch("REDIS_URL"), connect_timeout: TIMEOUT, read_timeout: TIMEOUT, write_timeout: TIMEOUT, reconnect_attempts: 0
)

class SessionsController < ActionController::Metal
  include AbstractController::Callbacks
  include ActionController::Head

  before_action(only: %i[write read whoami]) { head :unauthorized unless session[:user] }

  def login
    reset_session
    session[:user] = params[:user]
    head :no_content
  end

  def logout
    reset_session
    head :no_content
  end

  def write
    session[params[:key]] = params[:value]
    head :no_content
  end

  def read
    show value: session[params[:key]]
  end

  def revoke_all
    head :not_implemented
  end

  def whoami
    show user: session[:user]
  end

  private

  def show(body)
    self.content_type = "application/json"
    self.response_body = body.to_json
  end
end

ROUTES = ActionDispatch::Routing::RouteSet.new
ROUTES.draw do
  post "login/:user", to: SessionsController.action(:login)
  post "logout", to: SessionsController.action(:logout)
  post "set/:key/:value", to: SessionsController.action(:write)
  get "get/:key", to: SessionsController.action(:read)
  post "revoke-all", to: SessionsController.action(:revoke_all)
  get "whoami", to: SessionsController.action(:whoami)
end

use ActionDispatch::Cookies
use ActionDispatch::Session::CacheStore, cache: CACHE, key: "session"
run ROUTES
