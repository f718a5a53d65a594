'use strict';

// Sends one of each event through the real client, in one batch and in bulk; prints the HTTP statuses as JSON.
// Usage: node send.js BASE_URL KEY SECRET

const mp = require('mparticle');

const [, , baseUrl, key, secret] = process.argv;
const client = new mp.ApiClient();
client.basePath = baseUrl;
const api = new mp.EventsApi(new mp.Configuration(key, secret), client);

function batchOf(user, events) {
  const batch = new mp.Batch(mp.Batch.Environment.development);
  const identities = new mp.UserIdentities();
  identities.customerid = user;
  batch.user_identities = identities;
  events.forEach((event) => batch.addEvent(event));
  return batch;
}

function purchase() {
  const product = new mp.Product();
  product.id = 'sku-1';
  product.name = 'Shoe';
  product.price = 9.5;
  product.quantity = 2;
  const action = new mp.ProductAction('purchase');
  action.transaction_id = 'order-1';
  action.total_amount = 19;
  action.products = [product];
  const event = new mp.CommerceEvent();
  event.product_action = action;
  event.currency_code = 'EUR';
  return event;
}

function appEvent(name, attributes) {
  const event = new mp.AppEvent(mp.AppEvent.CustomEventType.navigation, name);
  event.custom_attributes = attributes;
  return event;
}

const oneOfEach = [
  appEvent('From Node', { colour: 'green' }),
  new mp.ScreenViewEvent('Home'),
  purchase(),
  new mp.SessionStartEvent(),
  new mp.SessionEndEvent(1000),
  new mp.FirstRunEvent(),
  new mp.CrashReportEvent('Error', 'boom', 'at line 1', true),
  new mp.BreadcrumbEvent(1, 'crumb'),
  new mp.NetworkPerformanceEvent('GET', 'https://example.com', 5, 6, 7, '200'),
  new mp.ProfileEvent('a', 'b', 'login'),
  new mp.ApplicationStateTransitionEvent('application_initialized'),
  new mp.OptOutEvent(true),
  new mp.PushMessageEvent('token', 'received', '{}', 'background'),
  new mp.PushRegistrationEvent(true, 'token'),
];

const statuses = {};
function done(name) {
  return (error, data, response) => {
    statuses[name] = response ? response.status : String(error);
    if (Object.keys(statuses).length === 3) {
      console.log(JSON.stringify(statuses));
    }
  };
}

api.uploadEvents(batchOf('node-single', oneOfEach), done('single'));
const bulk = [1, 2].map((n) => batchOf(`node-bulk-${n}`, [appEvent(`Bulk ${n}`, {})]));
api.bulkUploadEvents(bulk, done('bulk'));
const nameless = appEvent('x', {});
nameless.event_name = "";
api.uploadEvents(batchOf('node-bad', [nameless]), done('bad'));
