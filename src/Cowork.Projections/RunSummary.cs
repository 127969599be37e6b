using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A run's summary in answers and bundles: the fields of contracts/decisions.md ("Runs"), money in US dollars, absent values as null.</summary>
public static class RunSummary
{
    /// <summary>Writes the fields that a turn's answer and a run share into an open object.</summary>
    /// <param name="reply">The reply's text from the blob store; null: writes the stored content.</param>
    public static void WriteTurn(Utf8JsonWriter writer, RunRow run, string? reply = null)
    {
        writer.WriteString("run_id", run.RunId);
        writer.WriteString("session_id", run.SessionId);
        writer.WriteString("status", run.Status);
        WriteContent(writer, "reply", run.Reply, reply);
        if (run.Error is { } error)
        {
            writer.WriteStartObject("error");
            writer.WriteString("code", error.Code);
            writer.WriteString("message", error.Message);
            writer.WriteEndObject();
        }
        else
        {
            writer.WriteNull("error");
        }
        writer.WriteStartArray("pending_approval_ids");
        run.PendingApprovalIds.ForEach(writer.WriteStringValue);
        writer.WriteEndArray();
        writer.WriteNumber("total_tokens", run.TotalTokens);
        writer.WriteNumber("tool_calls", run.ToolCalls);
        writer.WriteNumber("cost_usd", run.CostMicroUsd / 1_000_000m);
        writer.WriteString("created_at", HashChain.Timestamp(run.CreatedAt));
    }

    /// <summary>Writes the fields of <c>GET /runs/{id}</c> that a turn's answer lacks into an open object.</summary>
    /// <param name="message">The message's text from the blob store; null: writes the stored content.</param>
    public static void WriteRest(Utf8JsonWriter writer, RunRow run, string? message = null)
    {
        WriteContent(writer, "message", run.Message, message);
        writer.WriteString("model", run.Model);
        writer.WriteString("skill_id", run.Source?.SkillId);
        if (run.Source?.SkillVersion is { } version)
        {
            writer.WriteNumber("skill_version", version);
        }
        else
        {
            writer.WriteNull("skill_version");
        }
        writer.WriteString("schedule_id", run.Source?.ScheduleId);
        WriteTime(writer, "started_at", run.StartedAt);
        WriteTime(writer, "completed_at", run.CompletedAt);
        writer.WriteNumber("attempt", run.Attempt);
        writer.WriteNull("lineage");
    }

    internal static void WriteTime(Utf8JsonWriter writer, string name, DateTimeOffset? at)
    {
        if (at is { } time)
        {
            writer.WriteString(name, HashChain.Timestamp(time));
        }
        else
        {
            writer.WriteNull(name);
        }
    }

    internal static void WriteContent(Utf8JsonWriter writer, string name, Content? content, string? text)
    {
        if (text is not null)
        {
            writer.WriteString(name, text);
            return;
        }
        switch (content)
        {
            case null:
                writer.WriteNull(name);
                break;
            case Content.Inline inline:
                writer.WriteString(name, inline.Text);
                break;
            case Content.Blob blob:
                writer.WriteStartObject(name);
                writer.WriteString("sha256", blob.Sha256);
                writer.WriteNumber("bytes", blob.Bytes);
                writer.WriteEndObject();
                break;
            case Content.Sealed closed:
                writer.WriteStartObject(name);
                writer.WriteString("enc", closed.Enc);
                writer.WriteString("subject", closed.Subject);
                writer.WriteString("ciphertext", closed.Ciphertext);
                writer.WriteEndObject();
                break;
        }
    }
}
