using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using static Cowork.Domain.RunEvent;

namespace Cowork.Web.Endpoints.Agents;

/// <summary>Something that happened in a run of an agent. A later release has more types.</summary>
/// <param name="Id">Dense from 1 within the run.</param>
/// <param name="Type"><c>status, text_delta, tool_call, tool_result, step_finish, error</c> or, as the last one, <c>final</c>.</param>
/// <param name="Status">Of <c>status</c> and <c>final</c>: <c>queued, running, approval_required, completed, failed, cancelled</c>.</param>
/// <param name="Restarted">True: the text of the step that was under way is void, and the step begins anew.</param>
/// <param name="Text">Of <c>text_delta</c>: the next piece; of <c>final</c>: the whole reply.</param>
/// <param name="Approval">Of the status <c>approval_required</c>: what a person must decide (<c>POST /approvals/{id}/decision</c>).</param>
/// <param name="ToolCall">Of <c>tool_call</c>.</param>
/// <param name="ToolResult">Of <c>tool_result</c>.</param>
/// <param name="Step">Of <c>step_finish</c>.</param>
/// <param name="Error">Of <c>error</c>.</param>
/// <param name="Usage">Of <c>final</c>.</param>
public sealed record AgentRunResult(
    long Id, string Type, RunKey RunId, string AgentId, DateTimeOffset Ts, string? Status = null, bool? Restarted = null, string? Text = null, AgentApproval? Approval = null,
    AgentToolCall? ToolCall = null, AgentToolResult? ToolResult = null, AgentStep? Step = null, AgentError? Error = null, AgentUsage? Usage = null);

public sealed record AgentApproval(ApprovalKey ApprovalId, string ToolName, JsonElement ToolInput, string Reason, DateTimeOffset ExpiresAt);

/// <param name="Input">The arguments: an object, or the text that the model wrote in place of one.</param>
public sealed record AgentToolCall(string Id, string Name, JsonElement Input);

/// <param name="Content">A long one is cut.</param>
public sealed record AgentToolResult(string Id, string Name, string Content, bool IsError);

/// <param name="Number">From 1.</param>
/// <param name="CostUsd">Left out: the model has no price.</param>
public sealed record AgentStep(int Number, string Model, string StopReason, long InputTokens, long OutputTokens, int ToolCalls, decimal? CostUsd);

public sealed record AgentError(string Code, string Message);

public sealed record AgentUsage(long TotalTokens, int ToolCalls, decimal CostUsd);

/// <summary>
/// The results of a run of an agent, as its events make them. It is a fold of nothing but those events, so that a stream that is read again, on any host and at any time,
/// has the same ids and the same text.
/// </summary>
sealed class AgentRunFold(RunKey run)
{
    readonly string stream = Run.Aggregate.Stream(run);
    string agent = "";
    string reply = "";
    long last;

    /// <summary>The last result was the final one.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>Id of the last result.</summary>
    public long Last => last;

    /// <summary>What an entry of the session's feed adds; entries that are not the run's add nothing.</summary>
    public IReadOnlyList<AgentRunResult> Add(FeedEntry entry)
    {
        if (entry.Stream != stream || HasEnded)
        {
            return [];
        }
        var happened = entry.Read();
        AgentRunResult New(string type) => new(++last, type, run, agent, entry.At);
        AgentRunResult Status(string status) => New("status") with { Status = status };
        AgentRunResult Final(string status)
        {
            HasEnded = true;
            return New("final") with { Status = status, Text = reply };
        }
        switch (happened)
        {
            case RunCreated created:
                agent = created.Agent?.Id ?? "";
                return [Status("queued")];
            case RunStarted:
                return [Status("running")];
            case RunResumed resumed:
                return [Status("running") with { Restarted = resumed.Attempt > 1 ? true : null }];
            case ModelRetried:
                return [Status("running") with { Restarted = true }];
            case OutputDelta delta:
                return [New("text_delta") with { Text = delta.Text }];
            case LlmResponse step:
                return
                [
                    New("step_finish") with
                    {
                        Step = new(step.Step, step.Model, step.StopReason, step.InputTokens, step.OutputTokens, step.ToolCalls, Money.Usd(step.CostMicroUsd)),
                    },
                ];
            case ToolCall call:
                return [New("tool_call") with { ToolCall = new(call.Id, call.Name, SessionFeed.Arguments(SessionFeed.Shown(call.Input))) }];
            case ToolResult result:
                return [New("tool_result") with { ToolResult = new(result.Id, result.Name, SessionFeed.Preview(SessionFeed.Shown(result.Content)), result.IsError) }];
            case ApprovalRequested asked:
                return
                [
                    Status("approval_required") with
                    {
                        Approval = new(asked.ApprovalId, asked.ToolName, SessionFeed.Arguments(SessionFeed.Shown(asked.ToolInput)), asked.Reason, asked.ExpiresAt),
                    },
                ];
            case AssistantReply said:
                reply = SessionFeed.Shown(said.Content);
                return [];
            case RunCompleted done:
                return [Final("completed") with { Usage = new(done.TotalTokens, done.ToolCalls, Money.Usd(done.CostMicroUsd)) }];
            case RunFailed failed:
                return [New("error") with { Error = new(failed.Error.Code, failed.Error.Message) }, Final("failed")];
            case RunCancelled:
                return [Final("cancelled")];
            default:
                return [];
        }
    }
}
