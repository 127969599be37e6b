using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// What <c>--report</c> prints, for <c>cowork doctor</c>: <c>{default_model, models: [{name, provider, model, base_url, has_key, is_ready}]}</c>.
/// No key, and of an address no query, where some providers want theirs.
/// </summary>
static class HostReport
{
    public static string Of(HostSettings settings)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, RelaxedJson.Writing))
        {
            json.WriteStartObject();
            json.WriteString("default_model", settings.Runs.DefaultModel);
            json.WriteStartArray("models");
            foreach (var model in settings.Models)
            {
                json.WriteStartObject();
                json.WriteString("name", model.Name);
                json.WriteString("provider", model.Provider);
                json.WriteString("model", model.Model);
                json.WriteString("base_url", model.BaseUrl?.GetLeftPart(UriPartial.Path));
                json.WriteBoolean("has_key", model.Key is not null);
                json.WriteBoolean("is_ready", model.IsReady || model.Provider == ModelSettings.Offline);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return System.Text.Encoding.UTF8.GetString(bytes.ToArray());
    }
}
